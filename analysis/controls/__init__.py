"""What else could it be: planted departures, structure, confounds, known truth."""

from noisezoo.door import open_door

open_door(__name__)
