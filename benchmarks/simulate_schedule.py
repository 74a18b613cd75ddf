"""The scheduler at any scale: ten views of 202,599 images by 10 to 4,096 processes that are slow, die and come back.

    python -m benchmarks.simulate_schedule            # about ten minutes
    python -m benchmarks.simulate_schedule --small    # seconds

What a process draws is decided by `noisezoo.builder.engine.scheduler`, as in a build; what it takes is in `Plan`.
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace

from benchmarks.schedule_model import simulate
from benchmarks.schedule_plan import Outcome, Plan

GOAL = 1.03
BASE = Plan()
SCENES: Mapping[str, Plan] = {
    "10 processes, 1 % die an hour": replace(BASE, processes=10, rows=64),
    "100": replace(BASE, processes=100, rows=64),
    "1,024: the goal": BASE,
    "1,024, nobody dies": replace(BASE, deaths=0.0),
    "1,024, 10 %": replace(BASE, deaths=0.1),
    "1,024, 10 %, no successors": replace(BASE, deaths=0.1, requeue=None),
    "1,024, 10 %, nobody lingers": replace(BASE, deaths=0.1, linger="none"),
    "1,024, 10 %, all linger": replace(BASE, deaths=0.1, linger="all"),
    "1,024, slices of 64": replace(BASE, rows=64),
    "1,024, slices of 8": replace(BASE, rows=8),
    "1,024, half of them slow": replace(BASE, slow=0.5),
    "1,024, a slow folder": replace(BASE, op=0.005, ops=5_000.0),
    "1,024, counter": replace(BASE, restarts=30.0),
    "4,096": replace(BASE, processes=4096, rows=8),
    "4,096, slices of 16": replace(BASE, processes=4096),
}
SMALL = replace(BASE, processes=64, images=12_000, rows=16, begin=2.0, load=1.0)
"""A sixteenth of the processes with a sixteenth of the work, but few enough events for a test."""
HEAD = ("", "ratio", "hours", "idle", "loading", "lost", "at most", "dead", "missing", "conflicts", "loads", "files",
        "listings", "MB", "ops", "peak/s")  # fmt: skip


def row(name: str, outcome: Outcome) -> list[str]:
    """One outcome's cells."""
    folder = outcome.folder
    return [
        name, f"{outcome.ratio:.3f}", f"{outcome.makespan / 3600:.2f}", f"{outcome.idle:.2%}", f"{outcome.loading:.2%}",
        f"{outcome.lost:.3%}", str(outcome.most_lost), str(outcome.dead), str(outcome.missing),
        f"{outcome.conflicts:,}", f"{outcome.loads:.1f}", f"{folder.created:,}", f"{folder.listings:,}",
        f"{folder.bytes / 1e6:,.0f}", f"{folder.operations:,}", f"{folder.peak:,}",
    ]  # fmt: skip


def main() -> None:
    """Print a table, scene by scene."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="one small scene")
    parser.add_argument("--only", default="", help="scenes whose name holds this")
    arguments = parser.parse_args()
    scenes = {"small": SMALL} if arguments.small else {k: v for k, v in SCENES.items() if arguments.only in k}
    print(" | ".join(HEAD))
    for name, plan in scenes.items():
        outcome = simulate(plan)
        verdict = f" | goal {GOAL}: {'met' if outcome.ratio <= GOAL else 'MISSED'}" if "goal" in name else ""
        print(" | ".join(row(name, outcome)) + verdict, flush=True)


if __name__ == "__main__":
    main()
