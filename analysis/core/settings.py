"""The one door for settings: what is asked for is possible, and is refused in one line before any work."""

from collections.abc import Callable, Mapping
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any


def _share(value: Any) -> bool:
    return isinstance(value, Real) and 0 < float(value) < 1


def _count(least: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


_RULES: Mapping[str, tuple[Callable[[Any], bool], str]] = MappingProxyType(
    {
        "alpha": (_share, "lie between 0 and 1, such as 0.05"),
        "confidence": (_share, "lie between 0 and 1, such as 0.95"),
        "n_folds": (_count(2), "be a whole number, 2 or more"),
        "n_splits": (_count(1), "be a whole number, 1 or more"),
        "n_permutations": (_count(0), "be a whole number, 0 or more"),
        "n_boot": (_count(1), "be a whole number, 1 or more"),
        "n_null": (_count(1), "be a whole number, 1 or more"),
        "n_projections": (_count(1), "be a whole number, 1 or more"),
        "n_replicates": (_count(1), "be a whole number, 1 or more"),
        "seed": (_count(0), "be a whole number, 0 or more"),
    }
)


def refuse_settings(**settings: Any) -> None:
    """Refuse what no analysis can use of the settings by these names; None asks for the default, and passes.

    Raises:
        ValueError: a confidence or a test's level `alpha` outside (0, 1), or a count or seed that is no whole number
            or too small.
    """
    for name, value in settings.items():
        holds, must = _RULES[name]
        if value is not None and not holds(value):
            raise ValueError(f"{name} must {must}, not {value!r}")
