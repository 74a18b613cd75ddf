"""Which images a source may give to a dataset and which belong to training, by id, so that the two never meet."""

FIRST_TRAINING_FACE = 1_000_000_000
"""Faces below this number are for datasets; from it on, they are for training the testbed's models."""
