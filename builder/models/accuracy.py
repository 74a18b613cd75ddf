"""Pick scheme and steps by the noise's distance to the ODE's own: the truth of DDIM for fewer forwards.

The table `accuracy.csv` is measured by `benchmarks/bench_accuracy.py` on closed forms and the trained testbed models.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from noisezoo.errors import UsageError

TABLE = files("noisezoo.builder.models") / "accuracy.csv"
PAPER = "ddim"


@dataclass(frozen=True)
class Measured:
    """One line of the table.

    Attributes:
        model: A testbed model or a closed form.
        span: Steps of the sampler whose x_T is the target.
        scheme: A key of `SCHEMES`.
        num_inference_steps: Its steps.
        forwards: Passes through the network for one image, unguided.
        error: Distance to the ODE's noise: the root mean square over that of the noise.
    """

    model: str
    span: int
    scheme: str
    num_inference_steps: int
    forwards: int
    error: float


@cache
def table() -> tuple[Measured, ...]:
    """Every measurement."""
    lines = TABLE.read_text().splitlines()
    return tuple(
        Measured(row["model"], int(row["span"]), row["scheme"], int(row["num_inference_steps"]), int(row["forwards"]),
                 float(row["error"]))
        for row in csv.DictReader(lines)
    )  # fmt: skip


def names() -> list[str]:
    """What `accuracy` may be: `ddim-N`, the truth of DDIM at N steps."""
    return [f"{PAPER}-{span}" for span in sorted({row.span for row in table()})]


def pick(name: str) -> dict[str, Any]:
    """The cheapest measured way to come as near to the ODE's noise as `name` does, on every model of the table.

    Args:
        name: `ddim-50` stands for the truth of DDIM at 50 steps, and for the noise level where those end.

    Returns:
        `scheme`, `num_inference_steps` and `span`, as a recipe's settings take them.

    Raises:
        UsageError: No such accuracy was measured.
    """
    if name not in names():
        raise UsageError(f"accuracy {name!r} was not measured; choose one of: {', '.join(names())}")
    span = int(name.removeprefix(f"{PAPER}-"))
    rows = [row for row in table() if row.span == span]
    wanted = {row.model: row.error for row in rows if (row.scheme, row.num_inference_steps) == (PAPER, span)}
    ways: dict[tuple[str, int], list[Measured]] = {}
    for row in rows:
        ways.setdefault((row.scheme, row.num_inference_steps), []).append(row)
    good = [way for way in ways.values() if all(row.error <= wanted[row.model] for row in way)]
    best = min(good, key=lambda way: (_forwards(way), _worst(way, wanted)))[0]
    own = (best.scheme, best.num_inference_steps) == (PAPER, span)  # the folder's own spacing is the paper's
    return {
        "scheme": best.scheme,
        "num_inference_steps": best.num_inference_steps,
        "span": None if own else span,
    }


def _forwards(way: list[Measured]) -> int:
    return max(row.forwards for row in way)


def _worst(way: list[Measured], wanted: Mapping[str, float]) -> float:
    return max(row.error / wanted[row.model] for row in way)
