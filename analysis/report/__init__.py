"""The page, its figures and tables."""

from noisezoo.door import open_door

open_door(__name__)
