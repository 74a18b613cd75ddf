"""Scheme and steps that reach the accuracy of the paper's DDIM with the fewest passes through the network."""

from collections.abc import Mapping
from typing import Any

from noisezoo.errors import UsageError

ACCURACIES: Mapping[str, Mapping[str, Any]] = {
    "ddim-20": {"scheme": "fireflow", "num_inference_steps": 6, "span": 20},
    "ddim-50": {"scheme": "fireflow", "num_inference_steps": 9, "span": 50},
    "ddim-100": {"scheme": "fireflow", "num_inference_steps": 12, "span": 100},
}
"""`ddim-N` -> settings whose noise lies at most as far from the ODE's own as DDIM's at N steps, at the noise level
where those end, on every closed form and trained model of `benchmarks/accuracy.csv` (by `bench_accuracy.py`)."""


def pick(name: str) -> dict[str, Any]:
    """The settings that `accuracy: NAME` of a recipe stands for.

    Args:
        name: A key of `ACCURACIES`.

    Returns:
        `scheme`, `num_inference_steps` and `span`.

    Raises:
        UsageError: No such accuracy was measured.
    """
    if name not in ACCURACIES:
        raise UsageError(f"accuracy {name!r} was not measured; choose one of: {', '.join(ACCURACIES)}")
    return dict(ACCURACIES[name])
