"""The `celeba` source: 202,599 faces of 10,177 people with 40 attributes (Liu et al., ICCV 2015).

Three layouts give the same manifest: the Hub's Parquet copy, a local folder of such files, and the folder that
torchvision makes. An image's id is its number in CelebA's own list, as in the file's name (`000001`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from noisezoo.builder.sources.hub_dataset import load, undecoded
from noisezoo.builder.sources.imagefolder import folder_of
from noisezoo.builder.sources.labels import integer, yes_no
from noisezoo.builder.sources.rows import OFFICIAL, SPLIT_NAMES, ImageRows, Layout, Reading, image_paths
from noisezoo.builder.sources.source import Refusal
from noisezoo.errors import UsageError

if TYPE_CHECKING:
    from datasets import Dataset

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

    Args:
        path: A local folder, for the Hub's copy: torchvision's layout (or its parent), or Parquet files.
        splits: `official`, which keeps people apart, or `hash` to split anew by person.
    """

    name = "celeba"
    license = "other"
    license_name = "celeba-dataset-release-agreement"
    sensitive = True
    stratify = ATTRIBUTES
    layout = Layout(
        "flwrlabs/celeba", "2d738f56e0e7f925ea36ae7c808ea925264aacec",
        labels={IDENTITY: integer, **dict.fromkeys(ATTRIBUTES, yes_no)}, identity=IDENTITY,
    )  # fmt: skip

    def __init__(self, path: str | None = None, splits: str = OFFICIAL) -> None:
        super().__init__(splits)
        self.root = None if path is None else folder_of(path, self.name)

    def read(self) -> Reading:
        """The rows of whichever layout there is."""
        for folder in [self.root, self.root / "celeba"] if self.root else []:
            if (folder / LISTED).is_file() or (folder / PICTURES).is_dir():
                return read_lists(folder)
        if self.root and not any(self.root.rglob("*.parquet")):
            raise UsageError(
                f"celeba: {self.root} holds neither {PICTURES} with {LISTED} nor Parquet files of {self.layout.repo}"
            )
        rows = load(str(self.root or self.layout.repo), self.name, revision=self.layout.revision)
        splits = undecoded({SPLIT_NAMES.get(split, split): part for split, part in rows.items()}, self.layout.image)
        return Reading(splits, numbers(splits))


def numbers(splits: "Mapping[str, Dataset]") -> dict[str, list[str]]:
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


@dataclass(frozen=True)
class Listing:
    """One of CelebA's text files: what it says of each file name.

    Attributes:
        columns: Names of what it says.
        rows: File name -> the rest of its line.
        broken: File name -> what is wrong with its line, where it has no other.
        repeated: File names of lines after the first.
    """

    columns: tuple[str, ...]
    rows: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    repeated: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path, columns: tuple[str, ...] = ()) -> "Listing":
        """Read a list; without `columns`, the first line counts the rows and the second names the columns."""
        if not path.is_file():
            raise UsageError(f"celeba: {path.parent} has no {path.name}; copy all of CelebA's lists there")
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        found = cls(columns or tuple(lines[1].split() if len(lines) > 1 else ()))
        for line in lines if columns else lines[2:]:
            if line.strip():
                found._add(path.name, *line.split(None, 1))
        return found

    def _add(self, where: str, name: str, rest: str = "") -> None:
        wanted, had = len(self.columns), len(rest.split())
        if name in self.rows or name in self.broken:
            self.repeated.append(name)
        elif had != wanted:
            self.broken[name] = f"its row in {where} has {had} values, not {wanted}"
        else:
            self.rows[name] = rest


def read_lists(folder: Path) -> Reading:
    """Read torchvision's layout; a picture that a list leaves out, and a row without a picture, are refused."""
    lists = {
        LISTED: Listing.read(folder / LISTED),
        PEOPLE: Listing.read(folder / PEOPLE, (IDENTITY,)),
        PARTITION: Listing.read(folder / PARTITION, ("partition",)),
    }
    pictures = {path.name for path in folder.glob(f"{PICTURES}/*") if not path.name.startswith(".")}
    names = sorted(pictures.union(*(set(listing.rows) | set(listing.broken) for listing in lists.values())))
    faults = {name: why for name in names if (why := _fault(name, pictures, lists))}
    again = [(name, f"{where} lists it again; its first row is kept")
             for where, listing in lists.items() for name in listing.repeated]  # fmt: skip
    refusals = [Refusal(Path(name).stem, "source", "ValueError", why) for name, why in [*faults.items(), *again]]
    part = lists[PARTITION].rows
    kept = {split: [name for name in names if name not in faults and part[name].strip() == str(k)]
            for k, split in enumerate(SPLITS)}  # fmt: skip
    rows = {split: _dataset(folder, kept[split], lists[LISTED], lists[PEOPLE]) for split in SPLITS}
    return Reading(rows, {split: [Path(name).stem for name in kept[split]] for split in SPLITS}, refusals)


def _fault(name: str, pictures: set[str], lists: Mapping[str, Listing]) -> str | None:
    """Why a file name cannot be used, if it cannot."""
    if name not in pictures:
        return f"{PICTURES} has no such file"
    for where, listing in lists.items():
        if name not in listing.rows:
            return listing.broken.get(name, f"{where} has no row for it")
    part = lists[PARTITION].rows[name].strip()
    return None if part in ("0", "1", "2") else f"its partition is {part!r}; write 0, 1 or 2"


def _dataset(folder: Path, names: list[str], attributes: Listing, people: Listing) -> "Dataset":
    """Rows as the Hub's copy has them, labels still as text; the pictures stay where they are."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from datasets import Dataset, Features, Image, Value

    columns = (IDENTITY, *attributes.columns)
    lines = pa.array([f"{people.rows[name].strip()} {attributes.rows[name].strip()}" for name in names], pa.string())
    words = pc.ascii_split_whitespace(lines)
    labels = {column: pc.list_element(words, k) for k, column in enumerate(columns)}
    paths = [{"path": str(folder / PICTURES / name), "bytes": None} for name in names]
    features = Features({"image": Image(decode=False), **dict.fromkeys(columns, Value("string"))})
    table = pa.table({"image": pa.array(paths, features.arrow_schema.field("image").type), **labels})
    return Dataset(table.cast(features.arrow_schema))
