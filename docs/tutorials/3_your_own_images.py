"""Your own images

A folder of pictures with a `metadata.csv` of labels becomes a dataset; then: what can be read from each view?
Here the pictures are made, bright and dark squares, so that the answer is known.
"""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

import noisezoo
from noisezoo.analysis import ProbeTable, probe_table
from noisezoo.builder import build_dataset, read_recipe

VIEWS = ["faces-clip", "pixels", "random"]


def make_photographs(folder: Path, count: int) -> None:
    """Squares of random colours, some of them bright, and the file that says which."""
    folder.mkdir(parents=True, exist_ok=True)
    draws = np.random.default_rng(0)
    with (folder / "metadata.csv").open("w", newline="") as stream:
        lines = csv.writer(stream)
        lines.writerow(["file_name", "Bright"])
        for k in range(count):
            bright = k % 2
            colour = draws.integers(120, 256, 3) if bright else draws.integers(0, 136, 3)
            Image.new("RGB", (48, 48), tuple(map(int, colour))).save(folder / f"{k:04d}.png")
            lines.writerow([f"{k:04d}.png", bright])


def main(out: Path = Path("own"), images: int = 400) -> dict[str, ProbeTable]:
    """View -> how well a probe reads each label from it."""
    make_photographs(out / "photos", images)
    recipe = read_recipe("faces", {"source": {"name": f"imagefolder:{out / 'photos'}", "limit": None}, "views": VIEWS})
    build_dataset(recipe, out / "dataset")
    tables = {}
    for view in VIEWS:
        rows = noisezoo.load(out / "dataset", views=[view])
        labels = np.asarray(rows["Bright"], dtype=bool)[:, None]
        tables[view] = probe_table(noisezoo.matrix(rows, view), labels, ["Bright"])
        print(f"{view}: balanced accuracy {tables[view].mean['balanced_accuracy'].estimate:.3f}")
    return tables


if __name__ == "__main__":
    main()
