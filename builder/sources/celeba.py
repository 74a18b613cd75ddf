"""The `celeba` source: 202,599 faces of 10,177 people with 40 attributes (Liu et al., ICCV 2015).

Three layouts give the same manifest: the Hub's Parquet copy, a local folder of such files, and the folder that
torchvision makes. An image's id is its number in CelebA's own list, as in the file's name (`000001`).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Features, Value

from noisezoo.errors import UsageError
from noisezoo.schema import PAPER_SPLIT, SPLIT, release_split
from .hub_dataset import dataset_folder, read_files
from .imagefolder import Folder, printable
from .labels import Piece
from .rows import SPLIT_NAMES, ImageRows, Pictures
from .source import Refusal
from .tables import Tables

ATTRIBUTES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose",
    "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses",
    "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes",
    "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks", "Sideburns", "Smiling",
    "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace",
    "Wearing_Necktie", "Young",
)  # fmt: skip
"""In the order of the official list."""

SPLITS = ("train", "validation", "test")  # in the order of CelebA's numbers, and of the partition file's 0, 1 and 2

IDENTITY = "celeb_id"
PICTURES, LISTED, PARTITION, PEOPLE = (
    "img_align_celeba", "list_attr_celeba.txt", "list_eval_partition.txt", "identity_CelebA.txt",
)  # fmt: skip
NUMBER = re.compile(r"\d{6}")


@dataclass
class CelebA(ImageRows):
    """CelebA, aligned and cropped; for non-commercial research only.

    `path` is torchvision's layout (or its parent) or a folder of Parquet files; the official splits keep people apart.

    Args:
        paper_split: Add the label `paper_split`: each row's part, `train` or `test`, when the authors' released code
            splits the rows of its official split.
    """

    paper_split: bool = False

    name = "celeba"
    license = "other"
    license_name = "celeba-dataset-release-agreement"
    sensitive = True
    stratify = ATTRIBUTES
    repo, revision = "flwrlabs/celeba", "2d738f56e0e7f925ea36ae7c808ea925264aacec"
    wanted = {IDENTITY: Value("int64"), **dict.fromkeys(ATTRIBUTES, Value("bool"))}
    identity = IDENTITY
    counts = MappingProxyType(dict(zip(SPLITS, (162_770, 19_867, 19_962), strict=True)))

    def scan(self) -> pa.Table:
        """Every row that has its labels, sorted by id."""
        table = super().scan()
        if not self.paper_split:
            return table
        splits = np.asarray(table.column(SPLIT).to_pylist()) if SPLIT in table.column_names else np.zeros(len(table))
        part = np.empty(len(table), dtype=object)
        for split in np.unique(splits):
            part[splits == split] = np.where(release_split(int((splits == split).sum())), "train", "test")
        return table.append_column(PAPER_SPLIT, pa.array(part, pa.string()))

    def label_features(self) -> Features:
        """The person, the attributes, and the part in the split of the released code, if it was asked for."""
        return Features({**super().label_features(), **({PAPER_SPLIT: Value("string")} if self.paper_split else {})})

    def options(self) -> dict[str, Any]:
        """The options that decide the rows."""
        return {name: value for name, value in super().options().items() if value or name != PAPER_SPLIT}

    def open(self) -> Pictures:
        """The rows of whichever layout there is."""
        for folder in [self.root, self.root / "celeba"] if self.path else []:
            if (folder / LISTED).is_file() or (folder / PICTURES).is_dir():
                return Lists(folder, self.name)
        folder = dataset_folder(self.where, self.name, revision=self.revision)
        files = read_files(folder, f"celeba: the dataset {self.where}")
        if not files:
            raise UsageError(
                f"celeba: {folder} holds neither {PICTURES} with {LISTED} nor Parquet files of {self.repo}"
            )
        return Numbered(files, self.name, "image")


class Numbered(Tables):
    """Rows under CelebA's own numbers: by their files' names, or counted from 1 over train, validation and test."""

    def pieces(self) -> Iterator[Piece]:
        """The rows, file by file; raises UsageError where counting would go wrong, as a split is missing."""
        pieces = [piece._replace(split=SPLIT_NAMES.get(piece.split, piece.split)) for piece in super().pieces()]
        paths = [pc.struct_field(piece.labels.column("image"), "path").to_pylist() for piece in pieces]
        named = [[PurePosixPath(path or "").stem for path in each] for each in paths]
        if not all(NUMBER.fullmatch(stem) for stems in named for stem in stems):
            splits, numbers = list(dict.fromkeys(piece.split for piece in pieces)), count(1)
            if set(splits) != set(SPLITS):
                raise UsageError(
                    "celeba: the rows name no files, and can be numbered only where the splits are "
                    f"{', '.join(SPLITS)}; here they are {', '.join(splits)}"
                )
            pieces.sort(key=lambda piece: SPLITS.index(piece.split))
            named = [[f"{next(numbers):06d}" for _ in piece.ids] for piece in pieces]
        yield from (piece._replace(ids=ids) for piece, ids in zip(pieces, named, strict=True))


class Listing(NamedTuple):
    """One of CelebA's text files: a row for each file name, a value for each column."""

    columns: list[str]
    rows: dict[str, str]  # file name -> the rest of its first line
    repeated: list[str]  # file names of further lines


def read_list(path: Path, column: str | None = None) -> Listing:
    """Read a list of one column, or one whose first line counts the rows and whose second names the columns."""
    if not path.is_file():
        raise UsageError(f"celeba: {path.parent} has no {path.name}; copy all of CelebA's lists there")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    found = Listing([column] if column else "".join(lines[1:2]).split(), {}, [])
    for line in lines if column else lines[2:]:
        name, *rest = line.split(None, 1) or [""]
        if name in found.rows:
            found.repeated.append(name)
        elif name:
            found.rows[name] = "".join(rest)
    return found


class Lists(Folder):
    """Torchvision's layout; a picture that a list leaves out, and a row without a picture, are refused."""

    def keys(self) -> set[str]:
        """The names of all pictures."""
        return {path.name for path in self.root.glob(f"{PICTURES}/*") if not path.name.startswith(".")}

    def content(self, key: str) -> bytes:
        """The picture's bytes."""
        return super().content(f"{PICTURES}/{key}")

    def pieces(self) -> Iterator[Piece]:
        """The rows of each split, labels still as text."""
        lists = {LISTED: read_list(self.root / LISTED), PEOPLE: read_list(self.root / PEOPLE, IDENTITY),
                 PARTITION: read_list(self.root / PARTITION, "partition")}  # fmt: skip
        pictures = self.keys()
        names = sorted(pictures.union(*(listing.rows for listing in lists.values())))
        faults = {name: why for name in names if (why := _fault(name, pictures, lists))}
        told = [*faults.items(), *((name, f"{where} lists it again; its first row is kept")
                                   for where, listing in lists.items() for name in listing.repeated)]  # fmt: skip
        self.refused = [Refusal(Path(printable(name)).stem, "source", "ValueError", why) for name, why in told]
        for k, split in enumerate(SPLITS):
            kept = [n for n in names if n not in faults and lists[PARTITION].rows[n].strip() == str(k)]
            labels = _labels(kept, lists[PEOPLE], lists[LISTED])
            features = Features.from_arrow_schema(labels.schema)
            yield Piece(split, [Path(name).stem for name in kept], kept, labels, features)


def _fault(name: str, pictures: set[str], lists: Mapping[str, Listing]) -> str | None:
    """Why a file name cannot be used, if it cannot."""
    if name not in pictures:
        return f"{PICTURES} has no such file"
    for where, listing in lists.items():
        if name not in listing.rows:
            return f"{where} has no row for it"
        if (had := len(listing.rows[name].split())) != (wanted := len(listing.columns)):
            return f"its row in {where} has {had} values, not {wanted}"
    part = lists[PARTITION].rows[name].strip()
    return None if part in ("0", "1", "2") else f"its partition is {part!r}; write 0, 1 or 2"


def _labels(names: list[str], *lists: Listing) -> pa.Table:
    """The words of each row, a column each."""
    lines = pa.array([" ".join(listing.rows[name] for listing in lists) for name in names], pa.string())
    words = pc.ascii_split_whitespace(pc.utf8_trim_whitespace(lines))
    columns = [column for listing in lists for column in listing.columns]
    return pa.table({column: pc.list_element(words, k) for k, column in enumerate(columns)})
