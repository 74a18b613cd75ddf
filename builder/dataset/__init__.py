"""Parts to a published folder, and to the Hub."""

from noisezoo.door import open_door

open_door(__name__)
