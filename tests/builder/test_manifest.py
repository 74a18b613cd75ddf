"""The manifest: which images, in which order and split, whatever is added later."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from noisezoo.builder.recipe import SourceSpec
from noisezoo.builder.sources.manifest import SPLITS, Manifest, freeze, spare_keys, split_of
from noisezoo.builder.sources.source import SOURCES, Refusal, Source, hash_unit, open_source, register_source
from noisezoo.errors import UsageError


class Listed(Source):
    """A source whose rows are given; a key that starts with `bad` cannot be read."""

    name = "listed"

    def __init__(
        self,
        ids: Sequence[str] = (),
        groups: Sequence[str] = (),
        splits: Sequence[str] = (),
        refused: Sequence[str] = (),
    ) -> None:
        self.refused = refused
        self.columns = {"image_id": list(ids), "key": list(ids)}
        self.columns |= {name: list(column) for name, column in [("group", groups), ("split", splits)] if column}

    def scan(self) -> pa.Table:
        return pa.table(self.columns, schema=pa.schema([(name, pa.string()) for name in self.columns]))

    def refusals(self) -> list[Refusal]:
        return [Refusal(image_id, "source", "ValueError", "it has no label") for image_id in self.refused]

    def label_features(self) -> Any:
        from datasets import Features

        return Features({})

    def content(self, key: str) -> bytes:
        if key.startswith("bad"):
            raise OSError(f"cannot read {key}")
        return bytes([sum(key.encode()) % 256]) * 4

    def decode(self, content: bytes) -> Image.Image:
        return Image.frombytes("L", (2, 2), content)


class Marked(Listed):
    """The same with five yes/no labels, common to rare, and their rates to be kept."""

    name = "marked"
    stratify = tuple("abcde")

    def __init__(self, n: int = 0) -> None:
        super().__init__(names(n))
        rng = np.random.default_rng(3)
        rates = (0.5, 0.3, 0.1, 0.03, 0.01)
        self.labels = {name: rng.random(n) < rate for name, rate in zip(self.stratify, rates, strict=True)}

    def scan(self) -> pa.Table:
        return pa.table({**super().scan().to_pydict(), **self.labels})


@pytest.fixture(autouse=True)
def listed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(SOURCES, "listed", f"{__name__}:Listed")
    monkeypatch.setitem(SOURCES, "marked", f"{__name__}:Marked")
    yield


def names(n: int) -> list[str]:
    return [f"i{k:04d}" for k in range(n)]


def frozen(limit: int | None = None, seed: int = 0, **options: Any) -> tuple[Manifest, list[Refusal]]:
    return freeze(open_source("listed", options), SourceSpec(name="listed", limit=limit, split_seed=seed))


def split_by_id(manifest: Manifest) -> dict[str, str]:
    return dict(zip(manifest.ids, manifest.table.column("split").to_pylist(), strict=True))


def test_a_larger_limit_keeps_a_smaller_one_s_rows() -> None:
    chosen = [set(frozen(limit, ids=names(200))[0].ids) for limit in (10, 50, 199, None)]
    assert [len(ids) for ids in chosen] == [10, 50, 199, 200]
    assert chosen[0] < chosen[1] < chosen[2] < chosen[3]


def test_a_limit_takes_a_sample_and_not_the_head() -> None:
    picked = [int(i[1:]) for i in frozen(50, ids=names(1000))[0].ids]
    assert max(picked) > 800
    assert set(frozen(50, seed=1, ids=names(1000))[0].ids) != {f"i{k:04d}" for k in picked}


def test_what_a_fit_may_use_is_none_of_the_dataset_s_rows() -> None:
    source = open_source("listed", {"ids": names(100)})
    for limit, count, spare in [(30, 50, 50), (90, 50, 10), (100, 50, 0), (None, 50, 0)]:
        keys = spare_keys(source, SourceSpec(name="listed", limit=limit), count)
        assert len(set(keys)) == spare
        assert not set(keys) & set(frozen(limit, ids=names(100))[0].keys)


def chosen_of(source: Source, limit: int, seed: int = 0) -> list[str]:
    return freeze(source, SourceSpec(name="marked", limit=limit, split_seed=seed))[0].ids


@pytest.mark.parametrize("limit", [50, 500, 3000])
def test_a_balanced_limit_errs_by_a_few_rows_however_large_it_is(limit: int) -> None:
    source = Marked(20_000)
    ids = chosen_of(source, limit)
    assert len(set(ids)) == limit
    rows = [int(image_id[1:]) for image_id in ids]
    for column in source.labels.values():
        rate = column.mean()
        off = abs(column[rows].sum() - limit * rate)
        assert off < 5 * max(rate * (1 - rate), 0.05) ** 0.5  # rows; by chance, sqrt(limit) in the place of 5


def test_a_balanced_limit_is_nested_and_decided_by_its_seed_alone() -> None:
    source = Marked(800)
    chosen = [set(chosen_of(source, limit)) for limit in (10, 200, 799)]
    assert chosen[0] < chosen[1] < chosen[2]
    assert set(chosen_of(Marked(800), 200)) == chosen[1]
    assert set(chosen_of(source, 200, seed=1)) != chosen[1]


def test_a_limit_without_labels_to_balance_is_the_lowest_hashes() -> None:
    lowest = sorted(names(300), key=lambda image_id: hash_unit(f"limit/0/{image_id}"))
    assert sorted(frozen(40, ids=names(300))[0].ids) == sorted(lowest[:40])


def test_labels_go_together_in_a_balanced_limit_as_they_do_in_the_whole() -> None:
    from noisezoo.builder.sources.balance import balanced

    rng = np.random.default_rng(5)
    hidden = rng.normal(size=(20_000, 3)) @ rng.normal(size=(3, 12)) + rng.normal(size=(20_000, 12))
    B = (hidden < np.quantile(hidden, 0.15, axis=0)).astype(float)
    pairs = np.triu_indices(12, 1)
    whole = np.corrcoef(B.T)[pairs]

    def error(rows: np.ndarray) -> np.ndarray:
        off: np.ndarray = np.corrcoef(B[rows].T)[pairs] - whole
        return off

    ours = np.stack([error(balanced(rng.permutation(len(B)), B, 1000)) for _ in range(20)])
    chance = np.stack([error(rng.permutation(len(B))[:1000]) for _ in range(20)])
    assert abs(ours).mean() < 1.15 * abs(chance).mean()
    assert abs((ours * np.sign(whole)).mean()) < 0.1 * abs(chance).mean() + 3 * (ours.mean(axis=1).std() / 20**0.5)


def test_a_balanced_order_is_every_row_once() -> None:
    from noisezoo.builder.sources.balance import balanced

    B = np.random.default_rng(0).random((600, 4)) < 0.2
    order = np.random.default_rng(1).permutation(600)
    assert sorted(balanced(order, B.astype(float), 600)) == list(range(600))


def test_what_a_fit_may_use_of_a_balanced_source_is_none_of_its_rows() -> None:
    source = Marked(400)
    spec = SourceSpec(name="marked", limit=150)
    spare = spare_keys(source, spec, 200)
    assert len(set(spare)) == 200
    assert not set(spare) & set(freeze(source, spec)[0].keys)
    assert len(spare_keys(source, spec, 300)) == 250


def test_what_the_source_refused_is_among_the_refusals() -> None:
    manifest, refusals = frozen(ids=["a", "bad1"], refused=["z"])
    assert manifest.ids == ["a"]
    assert [(r.image_id, r.message) for r in refusals] == [("z", "it has no label"), ("bad1", "cannot read bad1")]


def test_an_identity_on_both_sides_of_a_source_s_own_splits_is_refused() -> None:
    sides = {"ids": names(4), "splits": ["train", "test"] * 2}
    with pytest.raises(UsageError, match="identity p is in two of its splits"):
        frozen(groups=["p", "q", "p", "p"], **sides)
    assert len(frozen(groups=["p", "q", "p", "q"], **sides)[0]) == 4


def test_adding_images_moves_none_to_another_split() -> None:
    few, many = (split_by_id(frozen(ids=names(n))[0]) for n in (60, 300))
    assert few == {image_id: many[image_id] for image_id in few}


def test_splits_have_their_shares_and_their_order() -> None:
    manifest, _ = frozen(ids=names(3000))
    counts = Counter(split_by_id(manifest).values())
    assert list(manifest.splits) == ["train", "validation", "test"]
    for name, share in SPLITS.items():
        assert abs(counts[name] / 3000 - share) < 4 * (share * (1 - share) / 3000) ** 0.5
    assert split_of("a", 0) == split_of("a", 0)
    assert {split_of("a", seed) for seed in range(50)} == set(SPLITS)


def test_within_a_split_the_source_s_order_stays() -> None:
    manifest, _ = frozen(ids=names(100))
    for rows in manifest.splits.values():
        part = manifest.ids[rows.start : rows.stop]
        assert part == sorted(part)


def test_an_identity_is_never_on_both_sides_of_a_split() -> None:
    people = [f"p{k % 40}" for k in range(400)]
    manifest, _ = frozen(ids=names(400), groups=people)
    sides: dict[str, set[str]] = {}
    for image_id, split in split_by_id(manifest).items():
        sides.setdefault(people[int(image_id[1:])], set()).add(split)
    assert all(len(splits) == 1 for splits in sides.values())
    assert len(set.union(*sides.values())) == 3
    assert "group" not in manifest.table.column_names


def test_the_source_s_own_splits_are_kept() -> None:
    manifest, _ = frozen(ids=names(4), splits=["test", "train", "extra", "train"])
    assert manifest.ids == ["i0001", "i0003", "i0000", "i0002"]
    assert list(manifest.splits) == ["train", "test", "extra"]


def test_a_repeated_id_is_refused_and_its_first_row_kept() -> None:
    manifest, refusals = frozen(ids=["a", "b", "a", "c", "a"])
    assert sorted(manifest.ids) == ["a", "b", "c"]
    assert [(r.image_id, r.stage) for r in refusals] == [("a", "source"), ("a", "source")]
    assert "duplicate id 'a'" in refusals[0].message


def test_what_cannot_be_read_is_refused_and_the_rest_goes_on() -> None:
    manifest, refusals = frozen(ids=["a", "bad1", "b"])
    assert sorted(manifest.ids) == ["a", "b"]
    assert [(r.image_id, r.error, r.message) for r in refusals] == [("bad1", "OSError", "cannot read bad1")]


@pytest.mark.parametrize(("ids", "message"), [([], "no images that can be read"), (["bad1"], "cannot read bad1")])
def test_a_source_with_nothing_left_is_refused_with_the_first_reason(ids: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        frozen(ids=ids)


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_slices_cover_every_row_once_and_never_cross_a_split(rows: int) -> None:
    manifest, _ = frozen(ids=names(100))
    slices = manifest.slices(rows)
    assert [k for part in slices for k in part] == list(range(100))
    assert max(len(part) for part in slices) <= rows
    bounds = [part.start for part in manifest.splits.values()]
    assert not any(part.start < bound < part.stop for part in slices for bound in bounds)


def test_a_manifest_read_back_is_the_one_saved(tmp_path: Path) -> None:
    manifest, _ = frozen(ids=names(20))
    manifest.save(tmp_path / "manifest.parquet")
    again = Manifest.read(tmp_path / "manifest.parquet")
    assert again.table.equals(manifest.table)
    assert again.digest == manifest.digest


def test_the_digest_follows_ids_splits_and_content(monkeypatch: pytest.MonkeyPatch) -> None:
    first = frozen(ids=["a", "b"])[0].digest
    assert frozen(ids=["a", "b"])[0].digest == first
    assert frozen(ids=["a", "c"])[0].digest != first
    assert frozen(ids=["a", "b"], splits=["test", "test"])[0].digest != first
    monkeypatch.setattr(Listed, "content", lambda self, key: bytes(9))
    assert frozen(ids=["a", "b"])[0].digest != first


def test_hashing_is_uniform() -> None:
    from scipy import stats

    assert stats.kstest([hash_unit(str(k)) for k in range(2000)], "uniform").pvalue > 1e-3


@pytest.mark.parametrize("name", ["photos", "face", ""])
def test_an_unknown_source_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(UsageError, match="choose one of: faces, digits, imagefolder"):
        open_source(name)


OUTSIDE = """
import io
import pyarrow as pa
from datasets import ClassLabel, Features
from PIL import Image
from noisezoo.builder.sources import Source, register_source

class Stripes(Source):
    name, license = "stripes", "cc0-1.0"

    def __init__(self, count: str, dark: bool = False) -> None:
        self.greys = [k * (2 if dark else 20) for k in range(int(count))]

    def scan(self):
        keys = [str(grey) for grey in self.greys]
        halves = [k % 2 for k in range(len(keys))]
        return pa.table({"image_id": [f"s{key}" for key in keys], "key": keys, "half": halves})

    def label_features(self):
        return Features({"half": ClassLabel(names=["even", "odd"])})

    def content(self, key):
        file = io.BytesIO()
        Image.new("L", (8, 8), int(key)).save(file, "PNG")
        return file.getvalue()

register_source("stripes", f"{__name__}:Stripes")
"""


def test_a_source_is_added_by_one_class_in_a_module_of_the_user_s_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib

    import noisezoo
    from noisezoo.builder.__main__ import run
    from tests.builder.building import recipe_of

    (tmp_path / "my_stripes.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("noisezoo.builder.sources.source.SOURCES", dict(SOURCES))
    importlib.import_module("my_stripes")
    recipe = recipe_of("stripes:12", ("pixels-8",), limit=None, options={"dark": True}, pca_dims=64)
    assert run(recipe, tmp_path / "out")
    rows = noisezoo.load(tmp_path / "out", views=["pixels-8"])
    greys = np.array([int(image_id[1:]) for image_id in rows["image_id"]])
    assert sorted(greys) == [2 * k for k in range(12)]
    assert rows["half"] == [int(grey / 2 % 2) for grey in greys]
    np.testing.assert_allclose(noisezoo.matrix(rows, "pixels-8"), np.tile(greys[:, None] / 127.5 - 1, 64), atol=1e-3)
    register_source("stripes", "my_stripes:Stripes")
    with pytest.raises(UsageError, match="there is a source 'stripes' already"):
        register_source("stripes", "elsewhere:Stripes")


def test_plug_ins_are_loaded_before_a_source_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noisezoo.builder.sources.source.SOURCES", dict(SOURCES))
    plugin = lambda: register_source("plugged", f"{__name__}:Listed")  # noqa: E731
    monkeypatch.setattr("noisezoo.builder.sources.source.load_plugins", plugin)
    assert isinstance(open_source("plugged"), Listed)


def test_a_split_of_a_source_without_splits_is_refused_with_the_mend() -> None:
    spec = SourceSpec(name="faces", split="test")
    with pytest.raises(UsageError, match="source faces has no splits of its own: leave out --split"):
        freeze(open_source("faces"), spec)


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_a_larger_limit_only_appends_units_and_fills_the_last_of_each_split(rows: int) -> None:
    small, large = (frozen(limit, ids=names(200))[0] for limit in (60, 130))
    assert large.first(60).equals(small.table)
    before, after = ([[m.ids[k] for k in unit] for unit in m.slices(rows)] for m in (small, large))
    assert all(new[: len(old)] == old for old, new in zip(before, after, strict=False))
    assert sum(old != new for old, new in zip(before, after, strict=False)) <= len(small.splits)
    assert sorted(image_id for unit in after for image_id in unit) == sorted(large.ids)
