"""A build is a folder: recipe, manifest, parts and markers, leases, logs; the file system is the state."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import chain
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from noisezoo import zoo
from noisezoo.builder.models import check_access, keeps_prompts, pin
from noisezoo.builder.recipe import Recipe, make_recipe
from noisezoo.builder.sources import Manifest, Refusal, Source, freeze, spare_keys
from noisezoo.builder.views import check_metrics, shared
from noisezoo.errors import UsageError
from noisezoo.schema import name_faults
from .fingerprint import file_hashes, fingerprint, hashing
from .leases import LEASES, Lease, once, owners
from .store import Store, find_store

STATE, MODELS, COMMITS, ARITHMETIC = "_build", "models.json", "commits.json", "arithmetic"
SAMPLE = "sample-"
"""Folder of the state, with the limit behind it: the manifest of a build whose limit has grown."""

LISTED, MANIFEST = "listed.json", "manifest.parquet"
"""Keys of all images that the source had when the manifest was frozen, where a source may get more; the manifest."""

FITTED = "fitted"
"""Key of a marker: digest of the manifest for which its view was fitted to pictures, where it was."""

PREPARING = "prepare.json"
"""The lease of the process that writes recipe, manifest and models."""

READERS = 16
"""Threads that read markers."""

WEIGHTS = (".safetensors", ".bin")
"""Endings of files of weights."""


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
        """The JSON file that says what the part holds, with its hash."""
        return self.part.with_suffix(".json")

    @property
    def lease(self) -> Lease:
        """The lease of the process that works on this slice, for this view and those that share work with it."""
        return Lease(self.build.leases / shared(self.view) / f"{self.number:06d}.json", self.build.store)

    @property
    def ids(self) -> list[str]:
        """The image ids of the slice."""
        return self.build.manifest.ids[self.rows.start : self.rows.stop]

    def expected(self) -> dict[str, Any]:
        """What a marker must say for its part to be this unit's, and not another recipe's, row's or manifest's."""
        return {
            "view": self.view.name, "slice": self.number, "recipe": self.build.digests[self.view.name],
            "manifest": self.build.contents[self.number], "model": self.build.fingerprints[self.view.name],
        }  # fmt: skip

    def marker(self, sizes: Mapping[str, tuple[int, float]] | None = None) -> dict[str, Any] | None:
        """The unit's marker, if it is this unit's and its part is there in full length; None where work is left.

        Args:
            sizes: What `Store.sizes` has just said of the part's folder; by default the store is asked for the part.
        """
        if sizes is not None and self.marker_path.name not in sizes:
            return None
        marker = self.build.store.read_json(self.marker_path)
        if marker is None or any(marker.get(key) != value for key, value in self.expected().items()):
            return None
        if marker.get(FITTED, self.build.manifest.digest) != self.build.manifest.digest:
            return None
        there = self.build.store.size(self.part) if sizes is None else sizes.get(self.part.name, (None,))[0]
        return marker if there == marker["bytes"] else None


@dataclass(frozen=True)
class Build:
    """A shared place, the recipe it holds, and its manifest."""

    store: Store
    recipe: Recipe
    manifest: Manifest

    @property
    def root(self) -> Path:
        """The dataset's folder on this machine."""
        return self.store.root

    @property
    def state(self) -> Path:
        """Where everything but the published dataset lies."""
        return self.root / STATE

    @property
    def sample(self) -> Path:
        """Where manifest, facts of the source and fits lie: a folder of their own once the limit has grown."""
        return _sample(self.store, self.recipe)

    @cached_property
    def contents(self) -> list[str]:
        """Unit number -> what its marker says of the images: the digest of its own, or of all where no limit is."""
        slices = self.manifest.slices(self.recipe.slice_rows)
        if self.recipe.source.limit is None:
            return [self.manifest.digest] * len(slices)
        return [self.manifest.digest_of(rows) for rows in slices]

    @property
    def leases(self) -> Path:
        """The folder of the leases."""
        return self.state / LEASES

    @cached_property
    def views(self) -> list[zoo.View]:
        """The recipe's rows of the zoo, local folders in their places, each Hub model at the build's one commit."""
        commits = self.store.read_state(self.state / COMMITS) or {}
        return [pin(view, commits) for view in self.recipe.zoo_rows()]

    @cached_property
    def residuals(self) -> list[zoo.View]:
        """The rows of the views that are made of two others when the dataset is written."""
        commits = self.store.read_state(self.state / COMMITS) or {}
        noise = {view.name + zoo.RESIDUAL: view for view in self.views}
        return [replace(pin(view, commits), revision=noise[view.name].revision) for view in self.recipe.residuals()]

    @cached_property
    def published_views(self) -> list[zoo.View]:
        """The rows of all views of the dataset, in the recipe's order."""
        order = self.recipe.views.index
        return sorted((*self.views, *self.residuals), key=lambda view: order(view.name))

    @cached_property
    def steps(self) -> dict[str, int]:
        """View -> inference steps."""
        return {view.name: self.recipe.settings_of(view.name).num_inference_steps for view in self.views}

    @cached_property
    def digests(self) -> dict[str, str]:
        """View -> the recipe's digest for it, which its markers are compared with."""
        return {view: self.recipe.digest(view) for view in self.recipe.views}

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """View -> what its numbers come from, as `prepare` found it."""
        found = self.store.read_state(self.state / MODELS) or {}
        return {view.name: found.get(view.name) or fingerprint(view, hashing(self.state)) for view in self.views}

    @cached_property
    def source_facts(self) -> dict[str, Any]:
        """Label features, licence and refusals of the source, as `prepare` found them."""
        facts = self.store.read_state(self.sample / "source.json")
        if facts is None:
            raise UsageError(f"{self.sample / 'source.json'} is missing: build into a new folder")
        return facts

    @cached_property
    def source(self) -> Source:
        """The recipe's source, at what was pinned as the manifest was frozen.

        Raises:
            UsageError: An older version began the build, whose manifest names images in another way.
        """
        if "pinned" not in self.source_facts or (self.recipe.source.limit and self.manifest.ranks is None):
            raise UsageError(f"{self.store.name} was begun by an older NoiseZoo: build into a new folder")
        return self.recipe.open_source(self.source_facts["pinned"])

    def notes(self) -> list[str]:
        """What a user should know of how the source was understood, and how many of its images came too late."""
        keys, then = self.source.list_keys(), self.store.read_state(self.state / LISTED)
        newer = set(keys or ()).difference(then["keys"]) if then else ()
        late = f"{len(newer)} of {len(keys or ())} images are newer than the manifest, and stay out"
        return [*self.source_facts["notes"], *([f"{late}: build into a new folder for all"] if newer else [])]

    def first(self, name: str, value: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What a file of the state says, which is a new `value` where no process has written it before."""
        path = self.state / name

        def write() -> None:
            self.store.clean_up(path.parent, path.name)
            self.store.write_json(path, value())

        return once(Lease(self.leases / name, self.store), lambda: self.store.read_json(path), write)

    def arithmetic(self, view: zoo.View) -> dict[str, Any]:
        """`dtype` and `compile` that a GPU chose for a view; empty where none was asked."""
        return self.store.read_state(self.state / ARITHMETIC / f"{view.name}.json") or {}

    def refuse_outgrown(self) -> None:
        """Let a process end whose limit another process has raised: it would undo what the new one does.

        Raises:
            UsageError: It was raised.
        """
        now = self.store.read_state(self.state / "recipe.json") or self.recipe.model_dump()
        if now["source"]["limit"] != self.recipe.source.limit:
            limit = now["source"]["limit"]
            raise UsageError(f"the limit of {self.store.name} was raised to {limit}: run it with that limit")

    def owners(self) -> list[dict[str, Any]]:
        """Living processes that own leases of the build: `host`, `pid`, `leases`."""
        return owners(self.leases, self.store)

    def units(self, view: zoo.View) -> list[Unit]:
        """The view's units, in order."""
        slices = self.manifest.slices(self.recipe.slice_rows)
        return [Unit(self, view, number, rows) for number, rows in enumerate(slices)]

    def all_units(self) -> Iterator[Unit]:
        """Every unit, view by view."""
        for view in self.views:
            yield from self.units(view)

    def markers(self) -> list[dict[str, Any] | None]:
        """What `Unit.marker` gives of all units, view by view: a listing a view, and a reading of each marker in it."""
        folders = ((view, self.store.sizes(self.state / "parts" / view.name)) for view in self.views)
        return [marker for view, sizes in folders for marker in read_markers(self.units(view), sizes)]

    def pending(self) -> list[Unit]:
        """Units without a valid marker."""
        return [unit for unit, marker in zip(self.all_units(), self.markers(), strict=True) if marker is None]


def read_markers(
    units: Sequence[Unit], sizes: Mapping[str, tuple[int, float]] | None = None
) -> list[dict[str, Any] | None]:
    """What `Unit.marker` gives of each, read side by side: on a shared file system or a bucket each waits."""
    some = max(1, ceil(len(units) / READERS))
    shares = [units[i : i + some] for i in range(0, len(units), some)]
    with ThreadPoolExecutor(READERS) as pool:
        found = pool.map(lambda share: [unit.marker(sizes) for unit in share], shares)
        return list(chain.from_iterable(found))


def listed_units(names: Collection[str], count: int, *suffixes: str) -> np.ndarray:
    """(count,) bool. Of which units a listing names a file with each of these suffixes."""
    return np.array([all(f"{number:06d}{suffix}" in names for suffix in suffixes) for number in range(count)], bool)


def prepare(recipe: Recipe, place: str | Path | Store) -> Build:
    """Open the build of `recipe` in a place; write recipe, manifest and models where they are not there yet.

    Views may be added to an existing build, and images by a larger limit; any other change of the recipe is refused,
    unless no part was committed yet: then the place becomes the new recipe's.

    Raises:
        UsageError: The place holds another recipe's build or other files, cannot be written, or a model is missing; or
            the limit is larger, while other processes work there or its source gives other images than before.
    """
    store, source = find_store(place), recipe.open_source()
    state = store.root / STATE
    facts = store.read_state(state / "source.json") if _begun(recipe, store) is not None else None
    _check(recipe, source.label_features() if facts is None else dict(facts["features"]))
    _take_place(store)
    if facts is None:
        store.creation(state)
    commits = store.read_state(state / COMMITS) or {}
    views = [pin(view, commits) for view in recipe.zoo_rows()]
    models: dict[str, dict[str, Any]] = {
        MODELS: {view.name: fingerprint(view, hashing(state)) for view in views},
        COMMITS: {view.name: view.revision for view in views if view.repo and view.folder is None},
    }
    once(  # of thousands of processes, one prepares and the others read
        Lease(state / LEASES / PREPARING, store),
        lambda: _is_prepared(recipe, store, models) or None,
        lambda: _write(recipe, store, source, models),
    )
    return _read(store, _reconcile(recipe, store))


def _is_prepared(recipe: Recipe, store: Store, models: Mapping[str, dict[str, Any]]) -> bool:
    """Whether the place holds all that `_write` would write."""
    state = store.root / STATE
    fields, found = store.read_state(state / "recipe.json"), {name: store.read_state(state / name) for name in models}
    if fields is None or _reconcile(recipe, store).model_dump(mode="json") != fields:
        return False
    return all(there is not None and models[name].items() <= there.items() for name, there in found.items())


def _write(recipe: Recipe, store: Store, source: Source, models: Mapping[str, dict[str, Any]]) -> None:
    """Write what decides the build, under the lease that lets one process do so."""
    state = store.root / STATE
    for name in ("recipe.json", *models):
        store.clean_up(state, name)
    joined, existing = _reconcile(recipe, store), _begun(recipe, store)
    if existing is None:  # recipe.json is written last: without it, the others may be another recipe's
        _empty(store, state, keep=LEASES)
        if (keys := source.list_keys()) is not None:
            store.write_json(state / LISTED, {"keys": sorted(keys)})
        _freeze(source, recipe, state, store)
    grows = existing is not None and existing.source.limit != joined.source.limit
    if existing is not None and grows:
        _grow(_read(store, existing), joined)
    store.write_json(state / "recipe.json", joined.model_dump(mode="json"))
    for name, entries in models.items():
        store.write_json(state / name, (store.read_state(state / name) or {}) | entries)
    for unit in _read(store, joined).pending() if grows else ():  # units that were not full, and what is fitted anew
        store.remove(unit.marker_path)


def _freeze(source: Source, recipe: Recipe, folder: Path, store: Store) -> Manifest:
    """Write the manifest and the facts of the source."""
    manifest, refusals = freeze(source, recipe.source)
    for name in (MANIFEST, "source.json"):
        store.clean_up(folder, name)
    manifest.save(folder / MANIFEST)
    store.share(folder / MANIFEST)
    features = list(source.label_features().to_dict().items())  # a list, as their order is the columns' order
    facts = {"features": features, "license": source.license, "license_name": source.license_name,
             "sensitive": source.sensitive, "identity": source.identity,
             "refusals": [asdict(r) for r in refusals], "notes": source.notes(),
             "pinned": source.pinned(),
             "spare": spare_keys(source, recipe.source),
             "options": source.options(), "manifest": manifest.digest}  # fmt: skip
    store.write_json(folder / "source.json", facts)
    return manifest


def _grow(build: Build, recipe: Recipe) -> None:
    """Freeze the sample of a larger limit beside the build's own: it is the build's as soon as recipe.json says so."""
    limit, grown, store = build.recipe.source.limit, build.state / f"{SAMPLE}{recipe.source.limit}", build.store
    assert limit is not None, "only a limit can grow"
    at_work = [f"{owner['pid']} on {owner['host']}" for owner in build.owners() if owner["leases"] != [PREPARING]]
    if at_work:
        raise UsageError(
            f"process {at_work[0]} works in {store.name} with limit {limit}: to raise it, wait for it or stop it"
        )
    _empty(store, grown)
    manifest = _freeze(build.source, recipe, grown, store)
    if not manifest.first(limit).equals(build.manifest.table):
        _empty(store, grown)
        raise UsageError(
            f"{build.recipe.source.name} gives other images, labels or files than when {store.name} was begun, so "
            "its limit cannot be raised: build into a new folder"
        )


def _sample(store: Store, recipe: Recipe) -> Path:
    state = store.root / STATE
    grown = state / f"{SAMPLE}{recipe.source.limit}"
    return grown if MANIFEST in store.names(grown) else state


def _read(store: Store, recipe: Recipe) -> Build:
    return Build(store, recipe, Manifest.read(store.fetch(_sample(store, recipe) / MANIFEST)))


def _check(recipe: Recipe, labels: Iterable[str]) -> None:
    """Refuse, before any work, what cannot be built.

    That is a model that cannot be had, a metric without its package, an unknown prompt column, or a label with the name
    of a view or of a view's column (`VIEW.COLUMN`): in `paired` one would overwrite the other.
    """
    for view in recipe.zoo_rows():
        check_access(view, texts=not keeps_prompts(view, recipe.settings_of(view.name)))
    check_metrics(recipe.settings.metrics if recipe.settings.reconstruct else ())
    column, labels = recipe.settings.prompt_column, list(labels)
    for fault in name_faults(labels, recipe.views, ()):
        raise UsageError(f"source {recipe.source.name}: {fault}: rename the column, or leave out one of them")
    if column is not None and column not in labels:
        raise UsageError(
            f"prompt_column {column!r} is not a label of source {recipe.source.name}; it has: {', '.join(labels)}"
        )


def _take_place(store: Store) -> None:
    """Make the folder of the state, unless the place holds other files or cannot be written."""
    try:
        foreign = sorted(store.names(store.root))
        if foreign and STATE not in foreign:
            raise UsageError(f"{store.name} is not empty and holds no build ({foreign[0]}, ...): choose another --out")
        store.make(store.root / STATE)
    except OSError as error:
        raise UsageError(f"cannot write to {store.name}: {error.strerror}; choose another --out") from error


def _reconcile(recipe: Recipe, store: Store) -> Recipe:
    """The place's recipe with this one's views, rows, folders and limit; refuses anything else that differs.

    The number of reading threads is the newer recipe's, as it changes no byte.
    """
    existing = _begun(recipe, store)
    if existing is None:
        return recipe
    if (difference := existing.difference(recipe)) is not None:
        key, there, here = difference
        same = "use the same recipe"
        if key == "source.limit":
            same = "leave out the limit" if there is None else f"give --limit {there} or more"
        raise UsageError(
            f"{store.name} holds another recipe's build: {key} is {there!r} there and {here!r} here; "
            f"choose another --out, or {same}"
        )
    fields = existing.model_dump(mode="json")
    fields["source"]["limit"] = recipe.source.limit
    fields["rows"] = [asdict(row) for row in {row.name: row for row in (*existing.rows, *recipe.rows)}.values()]
    fields["views"] = list(dict.fromkeys((*existing.views, *recipe.views)))
    fields["folders"] |= recipe.folders
    fields["settings"]["readers"] = recipe.settings.readers
    fields["view_settings"] = existing.view_settings | recipe.view_settings
    return make_recipe(fields)


def _begun(recipe: Recipe, store: Store) -> Recipe | None:
    """The recipe whose build the place holds; None where it is nobody's: begun by another one, and nothing kept."""
    fields = store.read_state(store.root / STATE / "recipe.json")
    if fields is None:
        return None
    existing = make_recipe(fields)
    differs = existing.source.limit != recipe.source.limit or existing.difference(recipe) is not None
    return None if differs and _is_nobodys(store) else existing


def _is_nobodys(store: Store) -> bool:
    """Whether no part is committed, nothing is published and no living process works in a place."""
    leases = (lease for owner in owners(store.root / STATE / LEASES, store) for lease in owner["leases"])
    committed = any(path.suffix == ".json" for path in store.walk(store.root / STATE / "parts"))
    return not committed and store.names(store.root) == {STATE} and all(lease == PREPARING for lease in leases)


def _empty(store: Store, folder: Path, keep: str = "") -> None:
    """Remove all files in a folder, but for those in `keep`: a recipe first, so that a kill leaves nobody's build."""
    files = [path for path in store.walk(folder) if not keep or folder / keep not in path.parents]
    for path in sorted(files, key=lambda path: path != folder / "recipe.json"):
        store.remove(path)


def open_build(place: str | Path | Store) -> Build:
    """The build in a place.

    Raises:
        UsageError: There is none, or it was not prepared to the end.
    """
    store = find_store(place)
    fields = store.read_state(store.root / STATE / "recipe.json")
    if fields is None:
        raise UsageError(f"{store.name} holds no build: it has no {STATE}/recipe.json")
    return _read(store, make_recipe(fields))


def publishing_lease(store: Store) -> Lease:
    """The lease of the process that publishes a build's dataset, or changes what is published."""
    return Lease(store.root / STATE / LEASES / "publish.json", store)


def source_refusals(build: Build) -> list[Refusal]:
    """Images that never entered the manifest, and why."""
    return [Refusal(**refusal) for refusal in build.source_facts["refusals"]]


def public_recipe(build: Build) -> dict[str, Any]:
    """The recipe as it is published: without this machine's paths; a local folder is told by its weights' hashes."""
    fields = build.recipe.model_dump(mode="json", exclude={"folders": True, "settings": {"readers"}})
    for row in fields["rows"]:
        row["repo"] = public_name(row["repo"])
    name, _, argument = build.recipe.source.name.partition(":")
    fields["source"]["name"] = f"{name}:{public_name(argument)}".rstrip(":")
    fields["source"]["options"] |= build.source_facts["pinned"]
    hashed = hashing(build.state)
    hashes = {view.name: file_hashes(view, hashed, WEIGHTS) for view in build.views if zoo.is_path(view.repo)}
    return {**fields, "weights": hashes} if hashes else fields


def public_name(text: str) -> str:
    """A repository's id as it is; of a path, its last part alone."""
    return Path(text).name if zoo.is_path(text) else text
