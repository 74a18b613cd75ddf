"""Labels as people write them, whatever their column's type, read as values of a `datasets` feature."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Value

from noisezoo.errors import UsageError

YES_NO: Mapping[str, bool] = {"-1": False, "0": False, "false": False, "1": True, "true": True}
TEXT = ("string", "large_string", "string_view")


def read_label(column: pa.ChunkedArray, feature: Any, wanted: Any) -> tuple[pa.Array, dict[int, str]]:
    """Read a label column as the feature `wanted`: a ClassLabel, or a Value of bool or int64.

    Returns:
        The values, and for each row whose word is none of the feature's, what is wrong with it.

    Raises:
        ValueError: The column holds both -1 and 0, so that its "no" cannot be told.
    """
    words = as_words(column, feature)
    values, instead = _read(words, wanted)
    wrong = pc.indices_nonzero(pc.is_null(values)).to_pylist()
    return values, {row: f"{words[row].as_py()!r}; write {instead}" for row in wrong}


def _read(words: pa.Array, wanted: Any) -> tuple[pa.Array, str]:
    """Values, null for a word that is none of the feature's, and what to write instead of such a word."""
    if isinstance(wanted, ClassLabel):
        return _look_up(words, {name: k for k, name in enumerate(wanted.names)}), f"one of {', '.join(wanted.names)}"
    if wanted.dtype == "bool":
        lower = pc.utf8_lower(words)
        if {"-1", "0"} <= set(lower.unique().to_pylist()):
            raise ValueError(
                "holds both -1 and 0, and which of them means no cannot be told: write -1 and 1, or 0 and 1"
            )
        return _look_up(lower, YES_NO), "-1 or 1, 0 or 1, or false or true"
    whole = pc.if_else(pc.match_substring_regex(words, r"^-?\d{1,18}$"), words, None)
    return pc.cast(whole, pa.int64()), "a whole number"


def _look_up(words: pa.Array, values: Mapping[str, Any]) -> pa.Array:
    return pa.array(list(values.values())).take(pc.index_in(words, pa.array(list(values))))


def as_words(column: pa.ChunkedArray, feature: Any) -> pa.Array:
    """A label column as text: a class by its name, all else as Arrow writes it (`1`, `-1`, `true`)."""
    values = column.combine_chunks()
    if isinstance(feature, ClassLabel) and pa.types.is_integer(values.type):
        known = pc.and_(pc.greater_equal(values, 0), pc.less(values, len(feature.names)))
        return pa.array(feature.names, pa.string()).take(pc.if_else(known, values, None))
    return pc.cast(values, pa.string())


def plain_feature(feature: Any, name: str, source: str) -> Any:
    """The feature of a label column that is taken as it is stored; numbers, bools, text and classes are labels.

    Raises:
        UsageError: The column holds anything else.
    """
    dtype = feature.dtype if isinstance(feature, Value) else ""
    if dtype in TEXT:
        return Value("string")
    if not isinstance(feature, ClassLabel) and not dtype.startswith(("int", "uint", "float", "bool")):
        raise UsageError(
            f"{source}: column {name!r} ({dtype or type(feature).__name__}) cannot be a label, which is a number, a "
            "bool, text or a class: leave it out, or say in the option labels which columns are wanted"
        )
    return feature
