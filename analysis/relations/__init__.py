"""What do views tell of one another?"""

from noisezoo.door import open_door

open_door(__name__)
