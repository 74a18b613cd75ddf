"""One fault of a dataset."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One fault.

    Attributes:
        check: Which check found it: `record`, `files`, `sha256`, `unlisted`, `parquet`, `rows`, `dtypes`, `shapes`,
            `nulls`, `finite`, `ids`, `names`, `pairing`, `splits`, `paired`, `basis`, `accounting`, `card` or
            `recompute`.
        where: The file or config.
        message: The fault and its mend.
        row: The first row that has the fault, from 0, counted in `where`; None where it is not of single rows.
        image_id: That row's id.
    """

    check: str
    where: str
    message: str
    row: int | None = None
    image_id: str | None = None

    def __str__(self) -> str:
        place = "" if self.row is None else f" row {self.row}"
        return f"{self.where}{place}{'' if self.image_id is None else f' ({self.image_id})'}: {self.message}"
