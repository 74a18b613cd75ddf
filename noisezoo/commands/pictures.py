"""Pictures of a dataset that was published without them, found again in their source by `image_id`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from noisezoo import zoo
from noisezoo.errors import UsageError
from noisezoo.loading import load
from noisezoo.record import read_record
from noisezoo.schema import ID

PICTURES = "pixels"
"""Family of the views that are the picture itself, and the view that is made where the recipe names none."""
READ_TOGETHER = 64


def split_source(dataset: str | Path, text: str | None, revision: str | None) -> tuple[str | None, str | None]:
    """What `--source` says: which of the dataset's sources, and where its pictures are; None where it does not.

    In a dataset of several sources a name alone only chooses; `NAME:PATH`, or `NAME:`, says where pictures are as well.
    """
    record = read_record(dataset, revision) if text is not None else None
    if text is None or record is None:
        return text, None
    kind, colon, _ = text.partition(":")
    if len(record.sections) == 1:
        return None, text
    if kind not in (names := [section.source for section in record.sections]):
        raise UsageError(f"{dataset} has no source {kind!r}; it has: {', '.join(names)}")
    return kind, text if colon else None


def find_pictures(
    dataset: str | Path,
    where: str,
    options: dict[str, Any],
    *,
    source: str | None,
    views: Sequence[str] | None,
    revision: str | None,
    recipe: dict[str, Any],
) -> dict[str, np.ndarray]:
    """Views of pictures that a dataset lacks, made as its recipe has them: view -> (n, c, h, w), in its rows' order.

    Args:
        dataset: A folder, or a dataset id on the Hub.
        where: The source, as in `noisezoo build --source`.
        options: The source's own options, over those of the recipe where it is the recipe's source.
        source: Which of the dataset's sources.
        views: The views that are wanted; None for all that the recipe has.
        revision: On the Hub.
        recipe: The dataset's, as it was published.

    Returns:
        Nothing where the dataset has such a view of its own.

    Raises:
        UsageError: The source lacks images of the dataset, or has some that cannot be read; they are named.
        IncompleteError: A picture is not the one that the dataset was built from.
    """
    from noisezoo.builder.recipe import Settings
    from noisezoo.builder.sources import keys_of, open_source
    from noisezoo.builder.views import make_computer

    record = read_record(dataset, revision)
    section = next(s for s in (record.sections if record else ()) if source in (None, s.source))
    if any(view["family"] == PICTURES for view in section.views):
        if where.partition(":")[0] != section.source:
            raise UsageError(f"{dataset} has no source {where!r}; it has: {section.source}, with its own pictures")
        return {}
    named = [name for name in recipe.get("views", ()) if name in zoo.ROWS and zoo.get(name).family == PICTURES]
    wanted = [name for name in named or [PICTURES] if views is None or name in views]
    ids = load(dataset, (), source=source, revision=revision).data.column(ID).to_pylist() if wanted else []
    own = recipe.get("source", {"name": "", "options": {}})
    opened = open_source(where, {**(own["options"] if own["name"] == where else {}), **options})
    keys, hashes = keys_of(opened, ids) if wanted else [], _hashes(dataset, ids)
    settings = Settings(**recipe.get("settings", {}))
    computers = [make_computer(_sized(name, recipe), settings) for name in wanted]
    blocks: dict[str, list[np.ndarray]] = {name: [] for name in wanted}
    for start in range(0, len(keys), READ_TOGETHER):
        rows = slice(start, start + READ_TOGETHER)
        pictures = opened.images(keys[rows], hashes and hashes[rows])
        for name, computer in zip(wanted, computers, strict=True):
            _, made, refusals = computer.rows(ids[rows], pictures)
            if refusals:
                raise UsageError(f"{where}: {refusals[0].image_id} cannot be read ({refusals[0].message})")
            blocks[name].append(made[name].astype(computer.view.dtype))
    return {name: np.concatenate(parts) for name, parts in blocks.items()}


def _sized(name: str, recipe: dict[str, Any]) -> zoo.View:
    view = zoo.get(name)
    return zoo.at_resolution(view, recipe.get("view_settings", {}).get(name, {}).get("resolution", view.resolution))


def _hashes(dataset: str | Path, ids: Sequence[str]) -> list[str] | None:
    """SHA-256 of each image's content, as the build that lies beside the dataset froze it; None where there is none."""
    from noisezoo.builder.engine import STATE, open_build

    if not (Path(dataset) / STATE).is_dir():
        return None
    manifest = open_build(Path(dataset)).manifest
    frozen = dict(zip(manifest.ids, manifest.hashes, strict=True))
    return [frozen[image_id] for image_id in ids]
