"""Images to shards: sources, inversion, encoders, units of work, publishing."""

from noisezoo.door import open_door

open_door(__name__)
