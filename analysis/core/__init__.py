"""Arrays, folds, intervals, nulls and results."""

from noisezoo.door import open_door

open_door(__name__)
