"""A dataset without some of its views, for a publication that may not hold them: the folder itself stays whole."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from noisezoo.errors import UsageError
from noisezoo.record import PAIRED, Record, Section, record_of
from .finish import sign
from .layout import STAGED, place, write_paired
from .remove import alone

REDUCED = "reduced"
"""Folder, in the hidden one of a dataset, of what is published in its place."""


@contextmanager
def leave_out(root: Path, names: Sequence[str]) -> Iterator[Path]:
    """The dataset in `root` without these views, in a hidden folder that goes when the block ends.

    Files of the other views are linked where the disk allows it, and keep the hashes of the record, so that a file that
    was damaged since is found by whoever verifies the copy; `paired`, card and record are made again.

    Raises:
        UsageError: No source has a view of such a name (nor had one left out before), or a source would have no view.
        NoiseZooError: Another process writes into the folder.
    """
    record = record_of(root)
    sections = [_reduced(section, names) for section in record.sections]
    there = dict.fromkeys(view for s in record.sections for view in (*s.view_names, *s.left_out))
    unknown = [name for name in names if name not in there]
    if unknown:
        near = "".join(f"did you mean {name}? " for name in get_close_matches(unknown[0], there, 1))
        raise UsageError(f"--without {unknown[0]}: {near}{root} has the views {', '.join(there)}")
    copy = root / STAGED / REDUCED / root.resolve().name
    with alone(root):
        shutil.rmtree(copy, ignore_errors=True)
        try:
            _write(root, copy, record, sections)
            yield copy
        finally:
            shutil.rmtree(root / STAGED, ignore_errors=True)


def _reduced(section: Section, names: Sequence[str]) -> Section:
    """What the record says of a source without these views."""
    views = tuple(view for view in section.views if view["name"] not in names)
    left = {view["name"] for view in views}
    if not views:
        raise UsageError(f"these are all views of source {section.source}, and a dataset needs one: leave out fewer")
    gone = [name for name in section.view_names if name not in left]
    return replace(
        section, views=views, left_out=(*section.left_out, *gone),
        facts={name: facts for name, facts in section.facts.items() if name in left},
        weights={name: files for name, files in section.weights.items() if name in left},
    )  # fmt: skip


def _write(root: Path, copy: Path, record: Record, sections: Sequence[Section]) -> None:
    known = dict(record.files)
    for old, new in zip(record.sections, sections, strict=True):
        paired = f"{new.prefix}{PAIRED}/"
        for path in new.paths:
            if new == old or not path.startswith(paired):
                place(root / path, copy / path)
            else:
                del known[path]
        if new != old:
            write_paired(copy, new)
    sign(copy, sections, known)
