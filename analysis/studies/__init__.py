"""Analyses over a dataset, and the claims that they bear on."""

from noisezoo.door import open_door

open_door(__name__)
