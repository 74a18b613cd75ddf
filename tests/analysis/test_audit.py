"""The audit's figures are those that numpy and scikit-learn give, of built and of imported datasets."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from sklearn.dummy import DummyClassifier

import noisezoo
from noisezoo.analysis.studies.audit import is_not_the_image_s_share
from noisezoo.analysis.studies.data import attributes
from noisezoo.analysis.studies.paper import PUBLISHED, comparison
from noisezoo.analysis.studies.run import analyze
from noisezoo.analysis.studies.splits import PEOPLE, ROWS, splits_of
from noisezoo.builder.__main__ import run
from noisezoo.builder.dataset.import_arrays import Nearest, import_arrays, note_nearest
from noisezoo.builder.dataset.import_latents import add_residuals
from noisezoo.builder.sources.source import open_source
from noisezoo.schema import release_split
from tests.builder.building import digits_recipe

VIEWS = ("digits-ddpm", "digits-ddpm-untrained", "digits-ddpm-residual", "pixels-8")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("audit") / "digits"
    settings = {"num_inference_steps": 6, "scheme": "ddim-source", "batch_size": 60}
    assert run(digits_recipe(VIEWS, limit=180, slice_rows=60, shard_rows=1000, pca_dims=500, settings=settings), out)
    return out


@pytest.fixture(scope="module")
def audited(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    from tests.noisezoo.test_cli import run as command

    out = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        assert command(patch, "audit", str(digits), "--out", str(out)) == 0
    page = (out / "report.html").read_text()
    assert page.index('id="audit"') < page.index("Scorecard of the paper"), "the audit leads"
    assert "Where the inversion ended: digits-ddpm at t" in page
    (results,) = json.loads((out / "results.json").read_text())["datasets"].values()
    return dict(results)


def test_what_is_said_of_x_T_is_what_numpy_finds_in_the_stored_rows(digits: Path, audited: dict[str, Any]) -> None:  # noqa: N802
    (row,) = audited["audit"]["rows"]
    rows = noisezoo.load(digits, views=VIEWS)
    x, z, rest = (noisezoo.matrix(rows, view).astype(np.float64) for view in (VIEWS[0], VIEWS[3], VIEWS[2]))
    assert row["time"] == 5 * (1000 // 6) and row["a"] ** 2 + row["s"] ** 2 == pytest.approx(1)
    np.testing.assert_allclose(rest, x - row["a"] * z, atol=2e-3)
    assert row["share"] == pytest.approx(np.mean(row["a"] ** 2 * (z**2).sum(1) / (x**2).sum(1)), rel=1e-5)
    slopes = [np.polyfit(b, a, 1)[0] for a, b in zip(x, z, strict=True)]
    assert row["slope"] == pytest.approx(np.mean(slopes), abs=1e-5) and row["slope_low"] < row["slope"]
    train = release_split(len(x)) if "train" not in rows["split"] else np.asarray(rows["split"]) == "train"
    values = np.linalg.svd(x[train] - x[train].mean(axis=0), compute_uv=False) ** 2
    assert row["held"] == pytest.approx(values[: row["components"]].sum() / values.sum(), rel=1e-5)


def test_each_accuracy_stands_beside_the_majority_rule_of_scikit_learn(digits: Path, audited: dict[str, Any]) -> None:
    rows = noisezoo.load(digits)
    train, (_, Y) = np.asarray(rows["split"]) == "train", attributes(rows)
    rules = [DummyClassifier().fit(Y[train], y[train]).score(Y[~train], y[~train]) for y in Y.T]
    found = {row["view"]: row for row in audited["audit"]["accuracies"]}
    assert set(found) == set(VIEWS)
    for row in found.values():
        assert row["majority"] == pytest.approx(np.mean(rules))
        assert row["gain"]["estimate"] == pytest.approx(row["estimate"] - row["majority"])
    differences = {d["role"]: d for d in audited["audit"]["differences"]}
    assert set(differences) == {"untrained", "residual", "image"}
    for role, control in (("untrained", VIEWS[1]), ("residual", VIEWS[2]), ("image", VIEWS[3])):
        d = differences[role]
        assert d["estimate"] == pytest.approx(found[VIEWS[0]]["estimate"] - found[control]["estimate"])
        assert d["low"] <= d["estimate"] <= d["high"]


def test_the_scorecard_s_row_follows_from_the_differences_alone() -> None:
    views = [{"name": "n", "kind": "noise", "autoencoder": "vae"}]

    def verdicts(residual: tuple[float, ...], latent: tuple[float, ...]) -> list[str]:
        names = ("estimate", "low", "high")
        rows = [{"view": "n", "control": c, **dict(zip(names, d, strict=True))}
                for c, d in (("n-residual", residual), ("vae", latent), ("pixels", latent))]  # fmt: skip
        return [e.verdict for e in is_not_the_image_s_share({"views": views, "differences": rows})]

    assert verdicts((0.05, 0.03, 0.07), (-0.1, -0.2, -0.05)) == ["not supported", "not supported"]
    assert verdicts((0.0, -0.01, 0.01), (0.1, 0.05, 0.2)) == ["not decidable", "supported"]
    assert verdicts((-0.05, -0.07, -0.03), (0.0, -0.1, 0.1)) == ["supported", "not decidable"]


def test_the_release_s_split_is_numpy_s_shuffle_at_42_and_people_can_be_kept_apart() -> None:
    np.random.seed(42)  # as the released code does
    order = np.arange(101)
    np.random.shuffle(order)
    assert set(np.flatnonzero(release_split(101))) == set(order[:80])

    class People:
        train, groups = np.zeros(60, bool), np.arange(60) // 3
        labels = Dataset.from_dict({"image_id": [str(k) for k in range(60)]})

        def __len__(self) -> int:
            return 60

    found = splits_of(People())  # type: ignore[arg-type]
    assert list(found) == [ROWS, PEOPLE]
    assert not set(People.groups[found[PEOPLE]]) & set(People.groups[~found[PEOPLE]])
    np.testing.assert_array_equal(found[ROWS], release_split(60))
    told = np.where(release_split(63)[3:], "train", "test")  # three rows were refused since
    People.labels = People.labels.add_column("paper_split", told.tolist())
    np.testing.assert_array_equal(splits_of(People())[ROWS], told == "train")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Published arrays of 80 faces: Gaussian noise, and an encoder's rows that know some attributes."""
    root, source, rng = tmp_path_factory.mktemp("imported"), Limited(), np.random.default_rng(0)
    labels = np.stack(
        [source.scan().column(name).to_numpy(zero_copy_only=False) for name in ("Smiling", "Eyeglasses")], 1
    )
    np.save(root / "noises_faces-ddpm.npy", rng.standard_normal((80, 3072)).astype(np.float16))
    X = labels.astype(float) @ rng.standard_normal((2, 512)) + rng.standard_normal((80, 512))
    np.save(root / "noises_vitB16.npy", X.astype(np.float16))
    np.save(root / "noises_vitL14.npy", rng.standard_normal((80, 768)).astype(np.float16))
    import_arrays(root, source, root / "out", name="faces", split="all")
    return root / "out"


class Limited(type(open_source("faces"))):  # type: ignore[misc]
    """The first 80 faces."""

    def scan(self) -> Any:
        return super().scan().slice(0, 80)


@pytest.fixture(scope="module")
def studied(imported: Path) -> dict[str, Any]:
    return analyze(imported, studies=["audit", "paper", "probes"]).results


def test_an_imported_dataset_is_audited_and_what_is_not_known_of_it_is_said(studied: dict[str, Any]) -> None:
    (row,) = studied["audit"]["rows"]
    assert row["view"] == "faces-ddpm" and row["time"] is None and row["share"] is None
    assert row["held"] == pytest.approx(row["held_by_noise"], abs=0.01), "it is independent noise"
    said = [v["text"] for v in studied["verdicts"] if v["kind"] == "audit"]
    assert said[0].startswith("faces-ddpm: where x_T ends is not known.")


def test_an_import_with_latents_gets_the_scorecard_s_row_on_the_image_s_share(tmp_path: Path) -> None:
    """x_T = a z0 + s n is planted, and n tells the attributes: reading stays without the image, and beats z0."""
    source, rng, a = Limited(), np.random.default_rng(0), 0.3
    names = list(source.label_features())
    table, noise = source.scan(), rng.standard_normal((80, 256))
    for name in names:
        values = table.column(name).to_numpy(zero_copy_only=False)
        if values.dtype == bool:
            noise += 3 * np.outer(values - values.mean(), rng.standard_normal(256))
    np.save(tmp_path / "noises_faces-ldm.npy", noise.reshape(80, 4, 8, 8).astype(np.float16))
    out = tmp_path / "out"
    import_arrays(tmp_path, source, out, name="faces", split="all", latents=True)
    z0 = noisezoo.matrix(noisezoo.load(out, views=["faces-vae"]), "faces-vae")
    np.save(tmp_path / "noises_faces-ldm.npy", (a * z0 + noise).reshape(80, 4, 8, 8).astype(np.float16))
    record = import_arrays(tmp_path, source, out, name="faces", split="all", latents=True)
    facts = {"x_T_time": 900.0, "x_T_a": a, "x_T_s": 1.0}
    add_residuals(out, note_nearest(out, record, {"faces-ldm": Nearest(50, 0.01, 16, facts)}))
    results = analyze(out, studies=["audit"]).results
    assert results["audit"]["split"] == ROWS, "the label `paper_split` gives it"
    found = {row["against"]: row for row in results["scorecard"] if row["claim"].startswith("What is read is not")}
    assert set(found) == {"faces-ldm-residual", "faces-vae"}
    assert found["faces-vae"]["verdict"] == "supported" and found["faces-vae"]["low"] > 0
    assert abs(found["faces-ldm-residual"]["estimate"]) < found["faces-vae"]["low"]
    share = np.mean(a**2 * (z0**2).sum(1) / ((a * z0 + noise) ** 2).sum(1))
    assert results["audit"]["rows"][0]["share"] == pytest.approx(share, rel=1e-3)


def test_an_imported_dataset_is_analysed_as_the_paper_did_it(studied: dict[str, Any]) -> None:
    found = studied["paper"]
    accepted = {(row["view"], row["test"]): row["estimate"] for row in found["normality"]}
    assert accepted["faces-ddpm", "shapiro-wilk"] > 0.93 and accepted["bimodal control", "shapiro-wilk"] < 0.5
    assert {row["split"] for row in found["rows"]} == {ROWS}
    assert {(row["noise"], row["encoder"]) for row in found["transfer"]} == {
        ("faces-ddpm", "clip-vit-b16"), ("faces-ddpm", "clip-vit-l14"),
    }  # fmt: skip
    assert {row["metric"] for row in found["spaces"]} == {"accuracy", "spearman"}
    compared = {(row["quantity"], row["view"], row["published"]): row for row in found["comparison"]}
    beside = compared["anderson-darling", "clip-vit-b16", "89.50 %"]
    assert beside["estimate"] == accepted["clip-vit-b16", "anderson-darling"] and beside["where"] == "paper, Table 1"
    alone = compared["anderson-darling", "sd15", "96.00 %"]
    assert alone["estimate"] is None, "a figure of a view that is not here is nobody's but theirs"


def test_every_published_figure_says_where_it_is_from_and_is_shown_once_where_nothing_is_here() -> None:
    import csv

    with PUBLISHED.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(row["where"] and row["value"] and row["view"] for row in rows)
    shown = comparison({}, [])
    assert [(r["quantity"], r["view"], r["published"]) for r in shown] == [
        (r["quantity"], r["view"], r["value"]) for r in rows
    ]
