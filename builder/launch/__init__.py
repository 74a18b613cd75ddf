"""Plan, start and watch builds."""

from noisezoo.door import open_door

open_door(__name__)
