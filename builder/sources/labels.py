"""Kinds of label that a source declares: how each is read from what people write, whatever its column's type."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

YES_NO: Mapping[str, bool] = {"-1": False, "0": False, "false": False, "1": True, "true": True}


@dataclass(frozen=True)
class Kind:
    """One kind of label.

    Attributes:
        read: From words (`pa.string()`) to values; null for a word that is none of the kind's.
        feature: Makes the `datasets` feature of the values.
        wanted: What to write instead of a word that is none.
    """

    read: "Callable[[pa.Array], pa.Array]"
    feature: Callable[[], Any]
    wanted: str


def as_words(column: "pa.ChunkedArray", feature: Any) -> "pa.Array":
    """A label column as text: a class by its name, all else as Arrow writes it (`1`, `-1`, `true`)."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from datasets import ClassLabel

    values = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if isinstance(feature, ClassLabel) and pa.types.is_integer(values.type):
        known = pc.and_(pc.greater_equal(values, 0), pc.less(values, len(feature.names)))
        return pa.array(feature.names, pa.string()).take(pc.if_else(known, values, None))
    return pc.cast(values, pa.string())


def _read_yes_no(words: "pa.Array") -> "pa.Array":
    import pyarrow as pa
    import pyarrow.compute as pc

    lower = pc.utf8_lower(words)
    if pc.any(pc.equal(lower, "-1")).as_py() and pc.any(pc.equal(lower, "0")).as_py():
        raise ValueError("holds both -1 and 0, and which of them means no cannot be told: write -1 and 1, or 0 and 1")
    return pa.array(list(YES_NO.values())).take(pc.index_in(lower, pa.array(list(YES_NO))))


def _read_integer(words: "pa.Array") -> "pa.Array":
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.cast(pc.if_else(pc.match_substring_regex(words, r"^-?\d{1,18}$"), words, None), pa.int64())


def _bool() -> Any:
    from datasets import Value

    return Value("bool")


def _int64() -> Any:
    from datasets import Value

    return Value("int64")


yes_no = Kind(_read_yes_no, _bool, "-1 or 1, 0 or 1, or false or true")
integer = Kind(_read_integer, _int64, "a whole number")


def one_of(*names: str) -> Kind:
    """A class, stored as its place among `names`."""

    def read(words: "pa.Array") -> "pa.Array":
        import pyarrow as pa
        import pyarrow.compute as pc

        return pc.cast(pc.index_in(words, pa.array(names)), pa.int64())

    def feature() -> Any:
        from datasets import ClassLabel

        return ClassLabel(names=list(names))

    return Kind(read, feature, f"one of {', '.join(names)}")
