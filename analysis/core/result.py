"""What every result object shares: a tidy frame for people, plain JSON-able values for files."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


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


class Result:
    """A result is its settings and its rows."""

    def settings(self) -> dict[str, Any]:
        """What was asked for and what the rows have in common."""
        raise NotImplementedError

    def records(self) -> list[dict[str, Any]]:
        """One flat dictionary a row, all with the same keys."""
        raise NotImplementedError

    def to_frame(self) -> "pd.DataFrame":
        """The rows as a tidy pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame(self.records())

    def to_dict(self) -> dict[str, Any]:
        """Settings and rows as plain values: finite floats or None, strings, lists and dictionaries."""
        return dict(plain({**self.settings(), "rows": self.records()}))
