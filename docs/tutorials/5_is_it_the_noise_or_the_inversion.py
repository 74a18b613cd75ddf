"""Is it the noise or the inversion?

Probes read attributes from a model's noise. Do they read what training taught, or what any nearly invertible
map of the pixels leaves behind? Invert the same images through the trained network and through the same network
before training, and compare the probes row by row, with an interval for the difference.
"""

from pathlib import Path

import numpy as np

import noisezoo
from noisezoo.analysis import Interval, probe_difference, probe_table
from noisezoo.builder import build_dataset, read_recipe

TRAINED, UNTRAINED = "faces-ldm-uncond", "faces-ldm-uncond-untrained"


def main(out: Path = Path("noise-or-inversion"), images: int = 2000) -> Interval:
    """What training adds to the mean balanced accuracy."""
    recipe = read_recipe("faces", {"source": {"limit": images}, "views": [TRAINED, UNTRAINED]})
    build_dataset(recipe, out)
    rows = noisezoo.load(out, views=[TRAINED, UNTRAINED])
    names = [name for name, feature in rows.features.items() if getattr(feature, "dtype", "") == "bool"]
    attributes = np.stack([np.asarray(rows[name], dtype=bool) for name in names], axis=1)  # (n, k)
    tables = [probe_table(noisezoo.matrix(rows, view), attributes, names) for view in (TRAINED, UNTRAINED)]
    difference = probe_difference(*tables)
    print(f"trained - untrained: {difference}")
    return difference


if __name__ == "__main__":
    main()
