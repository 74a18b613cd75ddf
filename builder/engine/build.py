"""A build is a folder you can `ls`: recipe, manifest, parts and markers, claims, logs; the file system is the state."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from noisezoo import zoo
from noisezoo.builder.engine.leases import LEASES, Lease, once, owners
from noisezoo.builder.engine.provenance import fingerprint
from noisezoo.builder.models import check_access, pin
from noisezoo.builder.recipe import Recipe, make_recipe
from noisezoo.builder.sources import Manifest, Refusal, Source, freeze, open_source
from noisezoo.builder.views import check_metrics, shared
from noisezoo.errors import UsageError
from noisezoo.files import make_folder, read_json, read_state, sha256_of, sweep, write_json

STATE, MODELS, COMMITS = "_build", "models.json", "commits.json"


@dataclass(frozen=True)
class Unit:
    """One unit of work, of commit and of loss: a view on a fixed slice of manifest rows."""

    build: "Build"
    view: zoo.View
    number: int
    rows: range

    @property
    def part(self) -> Path:
        """The file this unit commits."""
        return self.build.state / "parts" / self.view.name / f"{self.number:06d}.parquet"

    @property
    def marker_path(self) -> Path:
        """The JSON that vouches for the part."""
        return self.part.with_suffix(".json")

    @property
    def lease(self) -> Lease:
        """The lease of the process that works on this slice, for this view and those that share work with it."""
        return Lease(self.build.leases / shared(self.view) / f"{self.number:06d}.json")

    @property
    def ids(self) -> list[str]:
        """The image ids of the slice."""
        return self.build.manifest.ids[self.rows.start : self.rows.stop]

    def expected(self) -> dict[str, Any]:
        """What a marker must say for its part to be this unit's, and not another recipe's, row's or manifest's."""
        return {
            "view": self.view.name, "slice": self.number, "recipe": self.build.recipe_digest,
            "manifest": self.build.manifest.digest, "model": self.build.fingerprints[self.view.name],
        }  # fmt: skip

    def marker(self) -> dict[str, Any] | None:
        """The unit's marker, if it is this unit's and its part is there in full length; None where work is left."""
        marker = read_json(self.marker_path)
        if marker is None or any(marker.get(key) != value for key, value in self.expected().items()):
            return None
        return marker if self.part.is_file() and self.part.stat().st_size == marker["bytes"] else None

    def is_intact(self) -> bool:
        """Whether the part's bytes are those its marker vouched for."""
        marker = self.marker()
        return marker is not None and sha256_of(self.part) == marker["sha256"]


@dataclass(frozen=True)
class Build:
    """A folder, the recipe it holds, and its manifest."""

    root: Path
    recipe: Recipe
    manifest: Manifest

    @property
    def state(self) -> Path:
        """Where everything but the published dataset lies."""
        return self.root / STATE

    @property
    def leases(self) -> Path:
        """The folder of the leases."""
        return self.state / LEASES

    @cached_property
    def views(self) -> list[zoo.View]:
        """The recipe's rows of the zoo, local folders in their places, each Hub model at the build's one commit."""
        commits = read_state(self.state / COMMITS) or {}
        return [pin(view, commits) for view in self.recipe.zoo_rows()]

    @cached_property
    def recipe_digest(self) -> str:
        """The recipe's digest, which every look at a marker needs."""
        return self.recipe.digest()

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """What each view's numbers come from, as `prepare` found it."""
        found = read_state(self.state / MODELS) or {}
        return {view.name: found.get(view.name) or fingerprint(view) for view in self.views}

    @cached_property
    def source_facts(self) -> dict[str, Any]:
        """Label features, licence and refusals of the source, as `prepare` found them."""
        facts = read_state(self.state / "source.json")
        if facts is None:
            raise UsageError(f"{self.state / 'source.json'} is missing: build into a new folder")
        return facts

    def owners(self) -> list[dict[str, Any]]:
        """Living processes that own leases of the build: `host`, `pid`, `leases`."""
        return owners(self.leases)

    def units(self, view: zoo.View) -> list[Unit]:
        """The view's units, in order."""
        slices = self.manifest.slices(self.recipe.slice_rows)
        return [Unit(self, view, number, rows) for number, rows in enumerate(slices)]

    def all_units(self) -> Iterator[Unit]:
        """Every unit, view by view."""
        for view in self.views:
            yield from self.units(view)

    def pending(self) -> list[Unit]:
        """Units that no valid marker vouches for. Only markers that a listing names are read."""
        listed = {view.name: names(self.state / "parts" / view.name) for view in self.views}
        return [u for u in self.all_units() if u.marker_path.name not in listed[u.view.name] or u.marker() is None]


def names(folder: Path) -> frozenset[str]:
    """What is in a folder; nothing where there is none."""
    try:
        return frozenset(os.listdir(folder))
    except FileNotFoundError:
        return frozenset()


def prepare(recipe: Recipe, root: Path) -> Build:
    """Open the build of `recipe` in `root`, making folder, recipe file and manifest where they are not there yet.

    Views may be added to an existing build; any other change of the recipe is refused.

    Raises:
        UsageError: The folder holds another recipe's build or other files, cannot be written, or a model is missing.
    """
    source = open_source(recipe.source.name, recipe.source.options)
    _check(recipe, source)
    state = root / STATE
    _refuse_foreign(root)
    _make_folder(state)
    commits = read_state(state / COMMITS) or {}
    views = [pin(view, commits) for view in recipe.zoo_rows()]
    models = {view.name: fingerprint(view) for view in views}
    on_hub = {view.name: view.revision for view in views if view.repo and view.folder is None}
    once(
        Lease(state / LEASES / "prepare.json"),
        lambda: _is_prepared(recipe, root, models, on_hub) or None,
        lambda: _write(recipe, root, source, models, commits | on_hub),
    )
    return Build(root, _reconcile(recipe, state, root), Manifest.read(state / "manifest.parquet"))


def _is_prepared(recipe: Recipe, root: Path, models: dict[str, str], commits: dict[str, str | None]) -> bool:
    """Whether the folder holds all that `_write` would write, and nothing is to be done."""
    state = root / STATE
    fields = read_state(state / "recipe.json")
    if fields is None or _reconcile(recipe, state, root).model_dump(mode="json") != fields:
        return False
    there = [read_state(state / name) or {} for name in (MODELS, COMMITS)]
    return models.items() <= there[0].items() and commits.items() <= there[1].items() and (state / COMMITS).exists()


def _write(recipe: Recipe, root: Path, source: Source, models: dict[str, str], commits: dict[str, Any]) -> None:
    """Write what decides the build, under the claim that lets one process do so."""
    state = root / STATE
    for name in ("manifest.parquet", "source.json", "recipe.json", MODELS, COMMITS):
        sweep(state, name)
    kept = _reconcile(recipe, state, root)
    if not (state / "recipe.json").exists():  # written last: without it, the others may be another recipe's
        manifest, refusals = freeze(source, recipe.source)
        manifest.save(state / "manifest.parquet")
        features = list(source.label_features().to_dict().items())  # a list, as their order is the columns' order
        facts = {"features": features, "license": source.license, "license_name": source.license_name,
                 "sensitive": source.sensitive, "identity": source.identity,
                 "refusals": [asdict(r) for r in refusals],
                 "options": source.options(), "manifest": manifest.digest}  # fmt: skip
        write_json(state / "source.json", facts)
    write_json(state / "recipe.json", kept.model_dump(mode="json"))
    write_json(state / MODELS, (read_state(state / MODELS) or {}) | models)
    write_json(state / COMMITS, commits)


def _check(recipe: Recipe, source: Source) -> None:
    """Refuse, before any work, a model that cannot be had, a metric without its package, an unknown prompt column."""
    for view in recipe.zoo_rows():
        check_access(view)
    check_metrics(recipe.settings.metrics if recipe.settings.reconstruct else ())
    column, labels = recipe.settings.prompt_column, list(source.label_features())
    if column is not None and column not in labels:
        raise UsageError(
            f"prompt_column {column!r} is not a label of source {recipe.source.name}; it has: {', '.join(labels)}"
        )


def open_build(root: Path) -> Build:
    """The build in an existing folder.

    Raises:
        UsageError: There is none, or it was not prepared to the end.
    """
    fields = read_state(root / STATE / "recipe.json")
    if fields is None:
        raise UsageError(f"{root} holds no build: it has no {STATE}/recipe.json")
    return Build(root, make_recipe(fields), Manifest.read(root / STATE / "manifest.parquet"))


def publishing_lease(state: Path) -> Lease:
    """The lease of the process that publishes the dataset of a build's state, or changes what is published."""
    return Lease(state / LEASES / "publish.json")


def source_refusals(build: Build) -> list[Refusal]:
    """Images that never entered the manifest, and why."""
    return [Refusal(**refusal) for refusal in build.source_facts["refusals"]]


def _refuse_foreign(root: Path) -> None:
    """Refuse, before anything is written there, a folder that holds files and no build."""
    if root.is_dir() and not (root / STATE).is_dir():
        foreign = sorted(path.name for path in root.iterdir())
        if foreign:
            raise UsageError(f"{root} is not empty and holds no build ({foreign[0]}, ...): choose another --out")


def _make_folder(state: Path) -> None:
    try:
        make_folder(state)
    except OSError as error:
        raise UsageError(f"cannot write to {state.parent}: {error.strerror}; choose another --out") from error


def _reconcile(recipe: Recipe, state: Path, root: Path) -> Recipe:
    """The folder's recipe with this one's views added; refuses anything else that differs."""
    fields = read_state(state / "recipe.json")
    if fields is None:
        return recipe
    existing = make_recipe(fields)
    old, new = _flat(existing.identity()), _flat(recipe.identity())
    old |= _publishing(existing)
    new |= _publishing(recipe)
    differs = [key for key in sorted(old | new) if old.get(key) != new.get(key)]
    if differs:
        key = differs[0]
        raise UsageError(
            f"{root} holds another recipe's build: {key} is {old.get(key)!r} there and {new.get(key)!r} here; "
            "choose another --out, or use the same recipe"
        )
    return _joined(existing, recipe)


def _publishing(recipe: Recipe) -> dict[str, Any]:
    """What decides the published files beside the parts."""
    return recipe.model_dump(include={"shard_rows", "pca_dims"})


def _joined(existing: Recipe, recipe: Recipe) -> Recipe:
    """A folder's recipe with another's views, rows and folders; how many threads read is the newer one's."""
    fields = existing.model_dump(mode="json")
    rows = {row.name: row for row in (*existing.rows, *recipe.rows)}
    fields["rows"] = [asdict(row) for row in rows.values()]
    fields["views"] = list(dict.fromkeys((*existing.views, *recipe.views)))
    fields["folders"] |= recipe.folders
    fields["settings"]["readers"] = recipe.settings.readers
    return make_recipe(fields)


def _flat(fields: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in fields.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
