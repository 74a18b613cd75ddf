"""Verify a dataset, and compute its rows again."""

from noisezoo.door import open_door

open_door(__name__)
