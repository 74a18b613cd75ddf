"""Measure what several trainings of a testbed model add to its noise, and write `benchmarks/trainings.csv`.

for seed in 11 12 13 14 15 16; do python testbed/train_digits_ddpm.py --steps 1500 --seed $seed; done
python testbed/trainings.py digits-ddpm 11 12 13 14 15 16
"""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

from common import RUNS

from noisezoo.analysis.studies.run import analyze
from noisezoo.analysis.studies.study import Options
from noisezoo.builder.__main__ import run
from noisezoo.builder.recipe import read_recipe
from noisezoo.zoo import SEED, UNTRAINED

TABLE = Path(__file__).resolve().parent.parent / "benchmarks" / "trainings.csv"
COLUMNS = ("model", "training", "steps", "images", "trained_minus_untrained", "low_over_images", "high_over_images",
           "low_over_both", "high_over_both", "spread")  # fmt: skip


def main() -> None:
    """Build the views of every training, probe them, and put the model's rows in the place of its old ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("seeds", type=int, nargs="+")
    parser.add_argument("--limit", type=int)
    given = parser.parse_args()
    names = [f"{given.model}{SEED}{seed}" for seed in given.seeds]
    folders = {name: str(RUNS / name / "model") for name in names}
    recipe = read_recipe(given.model.partition("-")[0], {
        "views": [view for name in names for view in (name, name + UNTRAINED)], "folders": folders,
        "source": {"limit": given.limit}, "settings": {"reconstruct": 0.0},
    })  # fmt: skip
    out = RUNS.parent / "trainings" / given.model
    if not run(recipe, out):
        raise SystemExit(f"{out} is not complete: run again")
    steps = {json.loads((Path(folder) / "training.json").read_text())["steps"] for folder in folders.values()}
    if len(steps) > 1:
        raise SystemExit(f"the trainings have {sorted(steps)} steps: train all by one schedule")
    found = analyze(out, Options(step=print), studies=["trainings"]).results
    write(given.model, rows_of(found, steps.pop()))


def rows_of(found: dict[str, Any], steps: int) -> list[dict[str, Any]]:
    """A row for each training, over images; then the mean of all, over both."""
    (mean,) = found["trainings"]["rows"]
    common = {"model": mean["view"], "steps": steps, "images": found["dataset"]["rows"]}
    each = [
        {**common, "training": row["training"].rpartition(SEED)[2], "trained_minus_untrained": row["estimate"],
         "low_over_images": row["low"], "high_over_images": row["high"]}
        for row in found["trainings"]["each"]
    ]  # fmt: skip
    every = {
        **common, "training": "all", "trained_minus_untrained": mean["estimate"],
        "low_over_images": mean["low_over_images"], "high_over_images": mean["high_over_images"],
        "low_over_both": mean["low"], "high_over_both": mean["high"], "spread": mean["spread"],
    }  # fmt: skip
    return [*each, every]


def write(model: str, rows: list[dict[str, Any]]) -> None:
    """Into the table, numbers of four digits."""
    kept = []
    if TABLE.exists():
        with TABLE.open(newline="") as file:
            kept = [row for row in csv.DictReader(file) if row["model"] != model]
    made = [{k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted([*kept, *made], key=lambda row: str(row["model"])))
    for row in made:
        print(row)


if __name__ == "__main__":
    main()
