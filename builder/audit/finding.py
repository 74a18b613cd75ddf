"""One fault of a dataset."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One fault."""

    check: str
    """Which check found it: `record`, `files`, `sha256`, `unlisted`, `parquet`, `rows`, `dtypes`, `shapes`, `nulls`,
    `finite`, `ids`, `names`, `pairing`, `splits`, `paired`, `basis`, `accounting`, `card` or `recompute`."""
    where: str  # the file or config
    message: str  # the fault and its mend
    row: int | None = None
    """The first row that has the fault, from 0, counted in `where`; None where it is not of single rows."""
    image_id: str | None = None  # that row's id

    def __str__(self) -> str:
        place = "" if self.row is None else f" row {self.row}"
        return f"{self.where}{place}{'' if self.image_id is None else f' ({self.image_id})'}: {self.message}"
