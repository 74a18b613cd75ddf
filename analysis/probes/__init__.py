"""What can be read from a view?"""

from noisezoo.door import open_door

open_door(__name__)
