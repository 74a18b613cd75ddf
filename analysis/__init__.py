"""Plain arrays in, frozen results out: each number with its interval and its null.

Exports load on first use, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import Any

_EXPORTS = {
    "Interval": "intervals",
    "wilson": "intervals",
    "resample_counts": "intervals",
    "bootstrap_means": "intervals",
    "mean_intervals": "intervals",
    "paired_differences": "intervals",
    "anderson_darling": "normality",
    "dagostino_pearson": "normality",
    "GaussianityResult": "multinormality",
    "gaussianity": "multinormality",
    "Probes": "probes",
    "fit_probes": "probes",
    "ProbeTable": "crossvalidation",
    "probe_table": "crossvalidation",
    "Comparison": "comparison",
    "compare": "comparison",
    "probe_difference": "comparison",
    "orthogonalize": "orthogonal",
    "cosine": "orthogonal",
}
__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_EXPORTS[name]}")
    return getattr(module, name)


def __dir__() -> list[str]:
    return __all__
