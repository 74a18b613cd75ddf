import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from noisezoo import cli
from noisezoo.analysis.report.report import write_report
from noisezoo.analysis.studies.data import attributes
from noisezoo.analysis.studies.run import analyze
from noisezoo.analysis.studies.study import Analysis, Effort, Model, Options
from noisezoo.builder.__main__ import run
from noisezoo.errors import UsageError
from tests.builder.building import digits_recipe

VIEWS = ("digits-ddpm", "digits-ddpm-untrained", "pixels-8", "random-64")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 digits, enough to probe, through a trained and an untrained model and two controls."""
    folder = tmp_path_factory.mktemp("run") / "digits"
    assert run(digits_recipe(VIEWS, limit=300, slice_rows=64, shard_rows=1000, settings={"batch_size": 64}), folder)
    return folder


@pytest.fixture(scope="module")
def analysis(digits: Path) -> Analysis:
    """Of all views, with a model that draws nothing but grey."""
    grey = Model("digits-ddpm", lambda noise: np.zeros((len(noise), 3, 8, 8), dtype=np.float32))
    return analyze(
        digits, Options(models=[grey], paper=True, effort=Effort(n_splits=4, n_permutations=4, max_rows=200))
    )


def test_class_labels_become_one_attribute_a_class_and_yes_no_columns_one_each() -> None:
    rows = {"image_id": ["a", "b", "c"], "kind": [0, 2, 1], "Even": [True, False, True], "factor_x": [0.1, 0.2, 0.3]}
    features = {"image_id": Value("string"), "kind": ClassLabel(names=["p", "q", "r"]), "Even": Value("bool")}
    names, Y = attributes(Dataset.from_dict(rows, Features({**features, "factor_x": Value("float32")})))
    assert names == ["kind=p", "kind=q", "kind=r", "Even"]
    np.testing.assert_array_equal(Y, [[1, 0, 0, 1], [0, 0, 1, 0], [0, 1, 0, 1]])


def test_a_dataset_without_attributes_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing to probe for"):
        attributes(Dataset.from_dict({"image_id": ["a"], "height": [1.5]}))


def test_noise_is_held_against_its_untrained_network_first_and_then_against_every_plain_control(
    analysis: Analysis,
) -> None:
    found = [(d["view"], d["role"], d["control"]) for d in analysis.results["differences"]]
    assert found == [
        ("digits-ddpm", "untrained", "digits-ddpm-untrained"),
        ("digits-ddpm", "pixels", "pixels-8"),
        ("digits-ddpm", "random", "random-64"),
    ]


def test_random_noise_is_at_chance_and_pixels_are_not(analysis: Analysis) -> None:
    mean = {view: table.mean["balanced_accuracy"] for view, table in analysis.tables.items()}
    assert 0.44 < mean["random-64"].estimate < 0.56
    assert mean["pixels-8"].low > 0.75
    against = next(d for d in analysis.results["differences"] if d["role"] == "random")
    assert against["low"] > 0


def test_results_are_strict_json(analysis: Analysis) -> None:
    from noisezoo.analysis.core.result import plain

    text = json.dumps(plain(analysis.results), allow_nan=False)
    assert json.loads(text)["dataset"]["rows"] == 300
    assert json.loads(text)["dataset"]["recipe"]["settings"]["seed"] == 42


def test_the_reconstruction_error_is_that_of_the_pictures_the_model_made(analysis: Analysis) -> None:
    given, made = analysis.reconstructions["digits-ddpm"]
    assert given.shape == made.shape == (12, 1, 8, 8)
    assert np.all(made == 0)
    psnr = 10 * np.log10(4 / (given**2).reshape(12, -1).mean(axis=1))
    np.testing.assert_allclose(analysis.results["edits"]["digits-ddpm"]["reconstruction_psnr"], psnr, atol=0.01)


def test_pictures_of_another_size_are_compared_at_the_smaller_one(digits: Path) -> None:
    from noisezoo.analysis.studies.data import Data

    data = Data(digits, views=["pixels-8", "digits-ddpm"])
    shown = np.flatnonzero(~data.train)[:12]
    given = data.matrix("pixels-8")[shown].reshape(-1, 1, 8, 8)
    larger = given.repeat(3, axis=2).repeat(3, axis=3)  # the same pictures at 24 x 24
    halved = given.reshape(-1, 1, 4, 2, 4, 2).mean(axis=(3, 5))
    for made, size in ((larger, [8, 8]), (halved, [4, 4])):
        models = [Model("digits-ddpm", lambda noise, made=made: made)]  # type: ignore[misc]
        found = analyze(digits, Options(models=models), views=["pixels-8", "digits-ddpm"], studies=["edits"]).results[
            "edits"
        ]
        assert found["digits-ddpm"]["size"] == size
        assert min(found["digits-ddpm"]["reconstruction_psnr"]) > 60, "at one size they are the same pictures"


def test_every_study_leaves_its_tables_its_figures_and_its_verdicts(analysis: Analysis, tmp_path: Path) -> None:
    write_report({"digits": analysis}, tmp_path, title="Digits")
    tables = {path.stem: pd.read_parquet(path) for path in (tmp_path / "tables").glob("*.parquet")}
    assert {"gaussianity", "power", "probes", "differences", "conditional", "learning", "paper_probes", "stitching",
            "alignment", "structure", "scorecard"} <= set(tables)  # fmt: skip
    assert set(tables["stitching"]["source"]) == set(VIEWS)
    numbers = tables["stitching"].query("measure == 'r2' and alpha == 'validated'")
    stitched = numbers.set_index(["source", "target"])["estimate"]
    assert stitched["pixels-8", "digits-ddpm"] > 0.2 > abs(stitched["random-64", "pixels-8"])
    assert {path.suffix for path in (tmp_path / "figures").iterdir()} == {".pdf", ".png", ".svg"}
    said = tables["scorecard"].set_index(["claim", "view"])
    assert said.loc[("Attributes are linear in noise", "digits-ddpm"), "verdict"] == "supported"
    assert (tables["scorecard"].query("claim == 'Edits work'")["verdict"] == "not decidable").all()
    assert "Attributes are linear in noise" in (tmp_path / "scorecard.html").read_text()


def test_studies_run_alone_where_asked_and_an_unknown_one_is_refused(digits: Path) -> None:
    alone = analyze(digits, views=["random-64", "pixels-8"], studies=["alignment"])
    assert set(alone.rows) == {"alignment", "agreement", "scorecard"}
    with pytest.raises(UsageError, match="no study 'telepathy'; choose of: .*gaussianity"):
        analyze(digits, studies=["telepathy"])


def test_of_a_dozen_images_the_studies_that_need_more_say_so_and_the_others_run(tmp_path: Path) -> None:
    assert run(digits_recipe(VIEWS, limit=12), tmp_path / "few")
    names = ["gaussianity", "likelihood", "stitching", "alignment"]
    found = analyze(tmp_path / "few", Options(effort=Effort(n_splits=2, n_permutations=2)), studies=names).results
    assert found["missing"] == {
        "gaussianity": "20 images, or identities", "likelihood": "60 images, or identities", "alignment": "44 images",
    }  # fmt: skip
    assert found["stitching"]["rows"]


def test_regenerating_without_a_pixels_view_is_refused(digits: Path) -> None:
    grey = Model("digits-ddpm", lambda noise: np.zeros((len(noise), 3, 8, 8), dtype=np.float32))
    with pytest.raises(UsageError, match="pixels view"):
        analyze(digits, Options(models=[grey]), views=["digits-ddpm"], studies=["edits"])


def test_the_command_writes_a_report_and_prints_its_path(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["analyze", str(digits), "--out", str(tmp_path / "report"), "--model", "digits-ddpm",
                 "--studies", "probes,edits", "--quick"]  # fmt: skip
    monkeypatch.setattr("sys.argv", ["noisezoo", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code in (0, None)
    shown = capsys.readouterr().out
    assert "trained minus untrained" in shown and "report.html" in shown
    assert "<html" in (tmp_path / "report" / "report.html").read_text()
    psnr = json.loads((tmp_path / "report" / "results.json").read_text())["datasets"]["digits"]["edits"]
    assert np.mean(psnr["digits-ddpm"]["reconstruction_psnr"]) > 10  # the real model, at two steps
