"""What every result object shares: settings that are possible, a tidy frame for people, plain values for files."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

_SHARES = {"alpha": 0.05, "confidence": 0.95}
_LEAST = {"n_folds": 2, "n_permutations": 0, "seed": 0}  # of counts; 1 of all others


def refuse_settings(**settings: Any) -> None:
    """Refuse what no analysis can use: before any work, in one line. None asks for the default, and passes.

    Raises:
        ValueError: a confidence or a test's level `alpha` outside (0, 1), or a count or seed that is no whole number
            or too small.
    """
    for name, value in settings.items():
        if value is None:
            continue
        if name in _SHARES:
            holds, must = (
                isinstance(value, Real) and 0 < float(value) < 1,
                f"lie between 0 and 1, such as {_SHARES[name]}",
            )
        else:
            least = _LEAST.get(name, 1)
            holds = isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least
            must = f"be a whole number, {least} or more"
        if not holds:
            raise ValueError(f"{name} must {must}, not {value!r}")


def plain(value: Any) -> Any:
    """Turn nested values into what JSON can hold; a number that is not finite becomes None."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


@dataclass(frozen=True, slots=True)
class Draws:
    """How often chance is asked, and from which seed; 0 where an analysis draws nothing of that kind.

    A result holds it as its field `draws`, and its `settings` list what is not 0. Functions take its fields by name:

    - n_folds: folds of cross-validation. Nothing is scored that was fitted on its fold.
    - n_splits: random splits of the rows in halves for the intervals, also their degrees of freedom (`core.halves`).
      Each runs the whole procedure twice.
    - n_permutations: times that rows are permuted for the null, which is NaN below 2 (of ranks, at 0).
    - n_boot: resamples of the bootstrap.
    - confidence: of the intervals.
    - seed: decides all of these draws.

    With `groups` (n,), identities of the rows, a group never straddles folds or halves, counts as one in intervals, and
    is permuted whole.

    Raises:
        ValueError: what `refuse_settings` refuses.
    """

    n_folds: int = 0
    n_splits: int = 0
    n_permutations: int = 0
    n_boot: int = 0
    confidence: float = 0.95
    seed: int = 42

    def __post_init__(self) -> None:
        undrawn = {name: None for name, value in asdict(self).items() if value == 0 and name.startswith("n_")}
        refuse_settings(**asdict(self) | undrawn)

    def settings(self) -> dict[str, Any]:
        """The seed, the confidence, and every count that is not 0."""
        return {name: value for name, value in asdict(self).items() if value or name == "seed"}


def _is_setting(value: Any) -> bool:
    """Is it a number, a word or None, or a tuple, list or mapping of those."""
    within = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple | list) else (value,)
    return all(item is None or isinstance(item, str | int | float | np.generic) for item in within)


@dataclass(frozen=True)
class Result:
    """A result is its settings and its rows; a subclass is a frozen dataclass."""

    def settings(self) -> dict[str, Any]:
        """What was asked for and what the rows have in common, as plain values.

        These are the fields that hold numbers or words, alone or in tuples and mappings (sizes, names, `refused`,
        `caveats`), and the fields of `draws`. A subclass that has more to say writes `Result.settings(self) | {...}`.
        """
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        said = {name: plain(value) for name, value in named.items() if _is_setting(value)}
        return said | (named["draws"].settings() if "draws" in named else {})

    def records(self) -> list[dict[str, Any]]:
        """One flat dictionary a row, all with the same keys: of the field `rows`, where a class says no more."""
        rows = getattr(self, "rows")  # noqa: B009 - a field of some subclasses
        return [dict(row) if isinstance(row, Mapping) else asdict(row) for row in rows]

    def to_frame(self) -> "pd.DataFrame":
        """The rows as a tidy pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame(self.records())

    def to_dict(self) -> dict[str, Any]:
        """Settings and rows as plain values: finite floats or None, strings, lists and dictionaries."""
        return dict(plain({**self.settings(), "rows": self.records()}))
