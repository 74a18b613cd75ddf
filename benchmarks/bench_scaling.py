"""Two processes on two cores against one, and the builder's own share of their time. Wants a quiet machine.

    python -m benchmarks.bench_scaling [--recipe faces] [--processes 2] [--repeats 3]

Wall seconds run from the first model's load to the last unit's end, by the logs: what a launch costs once beside them
(interpreters, imports, publishing) is printed too. The builder's own share is all of that but models' loads and stages.
"""

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from noisezoo.builder.launch.local import build_dataset
from noisezoo.builder.recipe import read_recipe

SPEEDUP, OWN = 1.9, 0.03
NETWORK = ("encode_seconds", "network_seconds", "reconstruct_seconds")
"""What a unit's log line says of its models' work; the rest is reading, writing and waiting."""


@dataclass(frozen=True)
class Run:
    """One build.

    Attributes:
        seconds: Of the whole launch.
        working: From the first load of a model to the last unit of all.
        models: Seconds of models, over all processes: their loads and their stages.
        own: Share of the processes' working time that no model took: reading, writing, listing, claiming.
        idle: Seconds, over all processes, between a process's last unit and the last of all.
    """

    seconds: float
    working: float
    models: float
    own: float
    idle: float

    def __str__(self) -> str:
        return (
            f"launch {self.seconds:.1f} s, work {self.working:.1f} s; models {self.models:.1f} s in all, "
            f"own {self.own:.1%}, idle at the end {self.idle:.1f} s"
        )


def run(recipe: str, processes: int) -> Run:
    """Build a bundled recipe into a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="noisezoo-scaling-") as folder:
        out = Path(folder) / "noisezoo"
        outcome = build_dataset(read_recipe(recipe), out, processes=processes)
        logs = [[json.loads(line) for line in log.open()] for log in (out / "_build" / "logs").glob("*.jsonl")]
    lines = [[line for line in log if line["event"] in ("loaded", "unit")] for log in logs]
    lines = [log for log in lines if log]
    begins = [log[0]["time"] - log[0]["seconds"] for log in lines]
    models = sum(line["seconds"] for log in lines for line in log if line["event"] == "loaded")
    models += sum(line.get(stage, 0.0) for log in lines for line in log for stage in NETWORK)
    ends = [log[-1]["time"] for log in lines]
    spans = sum(ends) - sum(begins)
    idle = max(ends) * len(ends) - sum(ends)
    return Run(outcome.seconds, max(ends) - min(begins), models, 1 - models / spans, idle)


def main() -> None:
    """Print both, in turns, the least of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="faces")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    runs: dict[int, list[Run]] = {1: [], arguments.processes: []}
    for _ in range(arguments.repeats):
        for processes, done in runs.items():
            done.append(run(arguments.recipe, processes))
            print(f"{processes} processes: {done[-1]}", flush=True)
    one, several = (min(done, key=lambda each: each.working) for done in runs.values())
    ratio = one.working / several.working
    alike = ratio * several.models / one.models
    print(f"speed-up {ratio:.2f} (goal >= {SPEEDUP}: {'met' if ratio >= SPEEDUP else 'MISSED'}); "
          f"{alike:.2f} had the machine run the models as fast in both")  # fmt: skip
    print(f"own share {one.own:.1%} (goal <= {OWN:.0%}: {'met' if one.own <= OWN else 'MISSED'})")


if __name__ == "__main__":
    main()
