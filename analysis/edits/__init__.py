"""Directions, edits and what they do."""

from noisezoo.door import open_door

open_door(__name__)
