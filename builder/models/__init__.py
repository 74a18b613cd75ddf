"""Model folders and Hub ids to `Inverter` and `Encoder`."""

from noisezoo.door import open_door

open_door(__name__)
