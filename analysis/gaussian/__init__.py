"""Is a view Gaussian?"""

from noisezoo.door import open_door

open_door(__name__)
