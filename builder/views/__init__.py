"""A row of the zoo to arrays."""

from noisezoo.door import open_door

open_door(__name__)
