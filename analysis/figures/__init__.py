"""The report's figures and the words for its numbers."""

from noisezoo.door import open_door

open_door(__name__)
