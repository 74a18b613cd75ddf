"""One process on a shared build folder: units, leases, commits."""

from noisezoo.door import open_door

open_door(__name__)
