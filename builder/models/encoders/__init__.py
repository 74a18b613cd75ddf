"""The families of image encoders, one small class each; the table is in `noisezoo.builder.models.encoder`."""
