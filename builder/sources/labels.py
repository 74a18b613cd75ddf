"""Labels as people write them, whatever their column's type, read as values of one `datasets` feature.

Each file of a source is read by its own features: two files may hold the same classes in another order.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Features, Value
from datasets.features.features import generate_from_arrow_type

from noisezoo.errors import UsageError

YES_NO: Mapping[str, bool] = {"-1": False, "0": False, "false": False, "1": True, "true": True}
PAIRS = (("0", "1"), ("-1", "1"), ("false", "true"), ("no", "yes"))
"""Pairs of words that say no and yes: a column of just such a pair is a yes/no attribute."""

TEXT = ("string", "large_string", "string_view")
MEND = "leave it out, or say in the option labels which columns are wanted"


class Piece(NamedTuple):
    """Rows of one file or folder: a split of its own name, ids, keys, and the label columns as they are stored."""

    split: str
    ids: Sequence[str]
    keys: Sequence[str]
    labels: pa.Table
    features: Features

    def feature(self, name: str) -> Any:
        """The feature of a label column; null if this piece has none of that name."""
        return self.features.get(name, Value("null"))

    def values(self, name: str) -> pa.ChunkedArray:
        """A label column as it is stored; nulls if this piece has none of that name, or one that cannot be a label."""
        has = name in self.labels.column_names
        return self.labels.column(name) if has else pa.chunked_array([pa.nulls(len(self.ids))])

    def words(self, name: str) -> pa.Array:
        """A label column as text: a class by its name, all else as Arrow writes it (`1`, `-1`, `true`)."""
        values, feature = self.values(name).combine_chunks(), self.feature(name)
        if isinstance(feature, ClassLabel) and pa.types.is_integer(values.type):
            known = pc.and_(pc.greater_equal(values, 0), pc.less(values, len(feature.names)))
            return pa.array(feature.names, pa.string()).take(pc.if_else(known, values, None))
        return pc.cast(values, pa.string())


class Labels(NamedTuple):
    """The label columns of all pieces."""

    columns: dict[str, pa.ChunkedArray]  # a value a row
    features: Features  # of the columns, in order
    faults: dict[int, str]  # row -> what is wrong with one of its labels
    notes: list[str]  # how columns were understood


def read_labels(
    pieces: Sequence[Piece], wanted: Mapping[str, Any] | None, source: str, identity: str | None = None
) -> Labels:
    """Read the label columns.

    Args:
        pieces: The rows.
        wanted: Columns in order, each with the feature that it is read as, or None to take it as it is stored; None
            for all columns, as they are stored.
        source: The source's name, for messages.
        identity: A column that names people, and so is never an attribute.

    Raises:
        UsageError: A column is not there, cannot be a label, or is of kinds that no feature holds.
    """
    stored = dict.fromkeys(name for piece in pieces for name in piece.features)
    found, answers = Labels({}, Features(), {}, []), defaultdict(list)
    for name, feature in (stored if wanted is None else wanted).items():
        lacking = dict.fromkeys(piece.split for piece in pieces if name not in piece.features)
        if name not in stored or (feature is not None and lacking):
            where = f" in {', '.join(lacking)}" if name in stored else ""
            raise UsageError(f"{source}: there is no label column {name!r}{where}; there are: {', '.join(stored)}")
        if feature is None:
            values, feature = unify(name, pieces, source)
            plain = isinstance(feature, Value) and feature.dtype != "bool" and name != identity
            if plain and (pair := _pair(values)):
                values, feature = _look_up(_lower(values), dict(zip(pair, (False, True), strict=True))), Value("bool")
                answers[pair].append(name)
            if lacking:
                found.notes.append(f"column {name!r} has no values in {', '.join(lacking)}, which has no such column")
        else:
            values, wrong = _read_all(name, pieces, feature, source)
            found.faults.update(wrong | found.faults)
        found.columns[name], found.features[name] = values, feature
    found.notes.extend(f"read as no ({no}) or yes ({yes}): {', '.join(names)}" for (no, yes), names in answers.items())
    return found


def _read_all(name: str, pieces: Sequence[Piece], feature: Any, source: str) -> tuple[pa.ChunkedArray, dict[int, str]]:
    """A declared label's values, and by row what is wrong with them."""
    words = pa.chunked_array([piece.words(name) for piece in pieces])
    if feature == Value("bool") and any({"-1", "0"} <= set(chunk.unique().to_pylist()) for chunk in words.chunks):
        raise UsageError(f"{source}: label {name!r} holds both -1 and 0, and which of them means no cannot be told: "
                         "write -1 and 1, or 0 and 1")  # fmt: skip
    values, instead = _read(words, feature)
    rows = pc.indices_nonzero(pc.is_null(values)).to_pylist()
    return values, {row: f"label {name} is {words[row].as_py()!r}; write {instead}" for row in rows}


def _read(words: pa.ChunkedArray, feature: Any) -> tuple[pa.ChunkedArray, str]:
    """Values of a class, bool or int64, null for a word that is none; and what to write instead of such a word."""
    if isinstance(feature, ClassLabel):
        return _look_up(words, {name: k for k, name in enumerate(feature.names)}), f"one of {', '.join(feature.names)}"
    if feature.dtype == "bool":
        return _look_up(_lower(words), YES_NO), "-1 or 1, 0 or 1, or false or true"
    whole = pc.if_else(pc.match_substring_regex(words, r"^-?\d{1,18}$"), words, None)
    return pc.cast(whole, pa.int64()), "a whole number"


def _look_up(words: Any, values: Mapping[str, Any]) -> Any:
    return pa.array(list(values.values())).take(pc.index_in(words, pa.array(list(values))))


def _lower(values: Any) -> Any:
    return pc.utf8_lower(pc.cast(values, pa.string()))


def _pair(values: pa.ChunkedArray) -> tuple[str, str] | None:
    """The words of no and yes, if a column holds just those."""
    distinct = values.unique().drop_null()
    return next((pair for pair in PAIRS if set(pair) == set(_lower(distinct).to_pylist())), None)


def unify(name: str, pieces: Sequence[Piece], source: str) -> tuple[pa.ChunkedArray, Any]:
    """A label column of several files as values of one feature: classes by their names, numbers by promotion.

    Raises UsageError where the column cannot be a label, or is of kinds that no feature holds.
    """
    plain = [_plain(piece.feature(name), name, source) for piece in pieces]
    classes = [feature for feature in plain if isinstance(feature, ClassLabel)]
    others = [pa.schema([(name, feature.pa_type)]) for feature in plain if not isinstance(feature, ClassLabel)]
    try:
        kind = pa.unify_schemas(others, promote_options="permissive").field(0).type if others else pa.null()
        if classes and not pa.types.is_null(kind):
            raise pa.ArrowTypeError("classes beside other values")
        if any(feature != classes[0] for feature in classes):
            one = ClassLabel(names=list(dict.fromkeys(word for feature in classes for word in feature.names)))
            return _read(pa.chunked_array([piece.words(name) for piece in pieces]), one)[0], one
        one = classes[0] if classes else generate_from_arrow_type(pa.string() if pa.types.is_null(kind) else kind)
        return pa.chunked_array([c for piece in pieces for c in piece.values(name).cast(one.pa_type).chunks]), one
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        kinds = {"classes" if isinstance(feature, ClassLabel) else str(feature.dtype): piece.split
                 for feature, piece in zip(plain, pieces, strict=True)}  # fmt: skip
        told = " and ".join(f"{kind} in {split}" for kind, split in kinds.items())
        raise UsageError(f"{source}: column {name!r} holds {told}: make them alike, {MEND}") from error


def _plain(feature: Any, name: str, source: str) -> Any:
    """The feature of a label column that is taken as it is stored: numbers, bools, text or classes."""
    dtype = feature.dtype if isinstance(feature, Value) else ""
    if dtype in TEXT:
        return Value("string")
    if not isinstance(feature, ClassLabel) and not dtype.startswith(("int", "uint", "float", "bool", "null")):
        raise UsageError(
            f"{source}: column {name!r} ({dtype or type(feature).__name__}) cannot be a label, which is a number, a "
            f"bool, text or a class: {MEND}"
        )
    return feature
