"""The `celeba` source: 202,599 faces of 10,177 people with 40 attributes (Liu et al., ICCV 2015).

Three layouts give the same manifest: the Hub's Parquet copy, a local folder of such files, and the folder that
torchvision makes. An image's id is its number in CelebA's own list, as in the file's name (`000001`).
"""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, Features, Image, Value

from noisezoo.builder.sources.hub_dataset import load, undecoded
from noisezoo.builder.sources.rows import SPLIT_NAMES, ImageRows, Part, image_paths
from noisezoo.builder.sources.source import Refusal
from noisezoo.errors import UsageError

ATTRIBUTES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose",
    "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses",
    "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes",
    "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks", "Sideburns", "Smiling",
    "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace",
    "Wearing_Necktie", "Young",
)  # fmt: skip
"""In the order of the official list."""

SPLITS = ("train", "validation", "test")
"""In the order of CelebA's numbers, and of the partition file's 0, 1 and 2."""

IDENTITY = "celeb_id"
PICTURES, LISTED, PARTITION, PEOPLE = (
    "img_align_celeba", "list_attr_celeba.txt", "list_eval_partition.txt", "identity_CelebA.txt",
)  # fmt: skip
NUMBER = re.compile(r"\d{6}")


class CelebA(ImageRows):
    """CelebA, aligned and cropped; for non-commercial research only.

    `path` is torchvision's layout (or its parent) or a folder of Parquet files; the official splits keep people apart.
    """

    name = "celeba"
    license = "other"
    license_name = "celeba-dataset-release-agreement"
    sensitive = True
    stratify = ATTRIBUTES
    repo, revision = "flwrlabs/celeba", "2d738f56e0e7f925ea36ae7c808ea925264aacec"
    wanted = {IDENTITY: Value("int64"), **dict.fromkeys(ATTRIBUTES, Value("bool"))}
    identity = IDENTITY

    def read(self) -> dict[str, Part]:
        """The rows of whichever layout there is."""
        for folder in [self.root, self.root / "celeba"] if self.path else []:
            if (folder / LISTED).is_file() or (folder / PICTURES).is_dir():
                parts, self.refused = read_lists(folder)
                return parts
        if self.path and not any(self.root.rglob("*.parquet")):
            raise UsageError(
                f"celeba: {self.root} holds neither {PICTURES} with {LISTED} nor Parquet files of {self.repo}"
            )
        rows = load(self.where, self.name, revision=self.revision)
        splits = undecoded({SPLIT_NAMES.get(split, split): part for split, part in rows.items()}, "image")
        ids = numbers(splits)
        return {split: Part(part, ids[split]) for split, part in splits.items()}


def numbers(splits: Mapping[str, Dataset]) -> dict[str, list[str]]:
    """CelebA's number of each row: from its file's name, or by counting over train, validation and test.

    Raises:
        UsageError: The rows name no files and a split is missing, so that counting would go wrong.
    """
    named = {
        split: [PurePosixPath(path or "").stem for path in image_paths(rows, "image")] for split, rows in splits.items()
    }
    if all(NUMBER.fullmatch(stem) for stems in named.values() for stem in stems):
        return named
    if set(splits) != set(SPLITS):
        raise UsageError(
            f"celeba: the rows name no files, and can be numbered only where the splits are {', '.join(SPLITS)}; "
            f"here they are {', '.join(splits)}"
        )
    starts = {split: 1 + sum(len(splits[before]) for before in SPLITS[:k]) for k, split in enumerate(SPLITS)}
    return {split: [f"{starts[split] + row:06d}" for row in range(len(splits[split]))] for split in splits}


class Listing(NamedTuple):
    """One of CelebA's text files: a row for each file name, a value for each column.

    Attributes:
        columns: The columns' names.
        rows: File name -> the rest of its first line.
        repeated: File names of further lines.
    """

    columns: list[str]
    rows: dict[str, str]
    repeated: list[str]

    def fault(self, name: str, where: str) -> str | None:
        """What is wrong with the row of a file name, if anything is."""
        if name not in self.rows:
            return f"{where} has no row for it"
        had, wanted = len(self.rows[name].split()), len(self.columns)
        return f"its row in {where} has {had} values, not {wanted}" if had != wanted else None


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


def read_lists(folder: Path) -> tuple[dict[str, Part], list[Refusal]]:
    """Read torchvision's layout; a picture that a list leaves out, and a row without a picture, are refused."""
    lists = {LISTED: read_list(folder / LISTED), PEOPLE: read_list(folder / PEOPLE, IDENTITY),
             PARTITION: read_list(folder / PARTITION, "partition")}  # fmt: skip
    pictures = {path.name for path in folder.glob(f"{PICTURES}/*") if not path.name.startswith(".")}
    names = sorted(pictures.union(*(listing.rows for listing in lists.values())))
    faults = {name: why for name in names if (why := _fault(name, pictures, lists))}
    again = [(name, f"{where} lists it again; its first row is kept")
             for where, listing in lists.items() for name in listing.repeated]  # fmt: skip
    refusals = [Refusal(Path(name).stem, "source", "ValueError", why) for name, why in [*faults.items(), *again]]
    parts = {}
    for k, split in enumerate(SPLITS):
        kept = [n for n in names if n not in faults and lists[PARTITION].rows[n].strip() == str(k)]
        parts[split] = Part(_dataset(folder, kept, lists[PEOPLE], lists[LISTED]), [Path(name).stem for name in kept])
    return parts, refusals


def _fault(name: str, pictures: set[str], lists: Mapping[str, Listing]) -> str | None:
    """Why a file name cannot be used, if it cannot."""
    if name not in pictures:
        return f"{PICTURES} has no such file"
    faults = (listing.fault(name, where) for where, listing in lists.items())
    if why := next(filter(None, faults), None):
        return why
    part = lists[PARTITION].rows[name].strip()
    return None if part in ("0", "1", "2") else f"its partition is {part!r}; write 0, 1 or 2"


def _dataset(folder: Path, names: list[str], *lists: Listing) -> Dataset:
    """Rows as the Hub's copy has them, labels still as text; the pictures stay where they are."""
    lines = pa.array([" ".join(listing.rows[name] for listing in lists) for name in names], pa.string())
    words = pc.ascii_split_whitespace(pc.utf8_trim_whitespace(lines))
    labels = {c: pc.list_element(words, k) for k, c in enumerate(c for listing in lists for c in listing.columns)}
    paths = [{"path": str(folder / PICTURES / name), "bytes": None} for name in names]
    features = Features({"image": Image(decode=False), **dict.fromkeys(labels, Value("string"))})
    table = pa.table({"image": pa.array(paths, features.arrow_schema.field("image").type), **labels})
    return Dataset(table.cast(features.arrow_schema))
