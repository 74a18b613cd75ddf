"""Where images come from: sources, labels, splits, the manifest, pixels."""

from noisezoo.door import open_door

open_door(__name__)
