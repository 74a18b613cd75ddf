"""The models that ship: every row of the zoo with a folder loads and gives what its row says."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from noisezoo import zoo
from noisezoo.builder.models.inverter import Inverter
from noisezoo.builder.recipe import Settings
from noisezoo.builder.sources.pixels import signed
from noisezoo.builder.sources.source import open_source
from noisezoo.builder.views.families import make_computer
from noisezoo.builder.views.quality import measure

SHIPPED = [row.name for row in zoo.rows() if row.folder is not None]
TRAINED_AND_NOT = [
    (row.name, row.baseline) for row in zoo.rows() if row.folder is not None and row.baseline in zoo.ROWS
]


def images_for(row: zoo.View, n: int = 4) -> list[Image.Image]:
    """Images of the source that the model was trained on the likes of."""
    source = open_source(row.name.partition("-")[0])
    return [
        image for image in source.images(source.scan().column("key").to_pylist()[:n]) if isinstance(image, Image.Image)
    ]


def array_of(name: str, steps: int = 2) -> np.ndarray:
    row = zoo.get(name)
    computer = make_computer(row, Settings(num_inference_steps=steps))
    computer.load()
    images = images_for(row)
    kept, rows, refusals = computer.rows([str(i) for i in range(len(images))], images)
    assert (len(kept), refusals) == (4, [])
    return rows[name]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_gives_finite_distinct_rows_of_its_row_s_shape_and_dtype(name: str) -> None:
    row, array = zoo.get(name), array_of(name)
    assert (array.shape, array.dtype) == ((4, *row.shape), row.dtype)
    assert np.isfinite(array).all()
    assert len(np.unique(array.reshape(4, -1), axis=0)) == 4


@pytest.mark.parametrize(("trained", "untrained"), TRAINED_AND_NOT)
def test_training_changed_what_a_shipped_model_gives(trained: str, untrained: str) -> None:
    a, b = array_of(trained).astype(np.float64), array_of(untrained).astype(np.float64)
    assert np.linalg.norm(a - b) > 0.05 * np.linalg.norm(a)


def test_digits_inverted_and_regenerated_are_the_digits_again() -> None:
    row = zoo.get("digits-ddpm")
    assert row.folder is not None
    images = np.stack([signed(image, row.resolution) for image in images_for(row)])
    inverter = Inverter.from_pretrained(row.folder, num_inference_steps=50)
    again = inverter.generate(inverter.invert(torch.from_numpy(images))).numpy()
    right, wrong = (measure(["psnr"], each, images)["reconstruction_psnr"] for each in (again, again[::-1]))
    assert right.min() > 20
    assert wrong.max() < 15, "or any digit would pass"


def test_the_shipped_untrained_network_is_the_one_that_training_started_from() -> None:
    from noisezoo.builder.models.inverter import Inverter

    trained, control = zoo.get("faces-ddpm"), zoo.get("faces-ddpm-untrained")
    assert trained.folder is not None and control.folder is not None and control.start_seed is None
    start = Inverter.from_pretrained(trained.folder, untrained_seed=trained.init_seed).pipeline.denoiser.state_dict()
    shipped = Inverter.from_pretrained(control.folder).pipeline.denoiser.state_dict()
    assert start.keys() == shipped.keys()
    for name, value in start.items():
        np.testing.assert_array_equal(shipped[name].numpy(), value.half().float().numpy(), err_msg=name)


def test_another_training_starts_from_its_own_seed_and_leaves_what_ships_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`MODEL-seedN` trained by the script is a folder whose untrained twin is the very network that it began from."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "testbed")
    common, script = import_module("common"), import_module("train_digits_ddpm")
    monkeypatch.setattr(common, "RUNS", tmp_path)
    monkeypatch.setattr(script, "sample", lambda pipe, n: torch.zeros(n, 1, 8, 8))
    monkeypatch.setattr(script, "held_out_loss", lambda *_: 0.0)
    starts: list[dict[str, torch.Tensor]] = []
    run = common.Training.run

    def kept(training: Any) -> Any:
        starts.append({name: value.clone() for name, value in training.model.state_dict().items()})
        return run(training)

    monkeypatch.setattr(common.Training, "run", kept)
    shipped = {path: path.stat().st_mtime_ns for path in zoo.TESTBED.rglob("*") if path.is_file()}
    for seed in ("8", "9"):
        monkeypatch.setattr("sys.argv", ["train", "--steps", "2", "--seed", seed])
        script.main()
    folder = tmp_path / "digits-ddpm-seed8" / "model"
    assert json.loads((folder / "training.json").read_text())["seed"] == 8
    twin = zoo.get("digits-ddpm-seed8-untrained")
    network = Inverter.from_pretrained(folder, untrained_seed=twin.start_seed).pipeline.denoiser
    assert all(torch.equal(value, starts[0][name]) for name, value in network.state_dict().items())
    assert not all(torch.equal(value, starts[1][name]) for name, value in network.state_dict().items())
    assert {path: path.stat().st_mtime_ns for path in zoo.TESTBED.rglob("*") if path.is_file()} == shipped
