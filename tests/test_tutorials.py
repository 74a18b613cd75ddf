"""The tutorials are run, on few images, and find what is there."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from noisezoo.analysis.studies import Effort
from noisezoo.builder.__main__ import run
from noisezoo.builder.launch import local

TUTORIALS = Path(__file__).resolve().parents[1] / "docs" / "tutorials"


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Launches work in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(local, "_run", lambda builds, *_: int(not all([run(b.recipe, b.root) for b in builds])))


def tutorial(number: int) -> ModuleType:
    (path,) = TUTORIALS.glob(f"{number}_*.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_paper_is_reproduced_and_each_of_its_claims_has_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    module = tutorial(1)
    monkeypatch.setattr(module, "VIEWS", ["faces-ldm-uncond", "faces-ldm-uncond-untrained", "faces-clip", "random"])
    monkeypatch.setattr(module, "PAPER", {"scheme": "ddim", "num_inference_steps": 2, "span": None})
    verdicts = module.main(images=96, effort=Effort(n_splits=6, n_permutations=1, max_rows=96))
    assert len(verdicts) > 3
    assert set(verdicts.values()) <= {"supported", "not supported", "not decidable"}


def test_published_noise_is_imported_checked_and_tested(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "published").mkdir()
    noise = np.random.default_rng(0).standard_normal((894, 4, 8, 8)).astype(np.float16)
    np.save(tmp_path / "published" / "noises_faces-ldm.npy", noise)
    tests = tutorial(2).main(place="published", images="digits", split="all")
    assert list(tests) == ["faces-ldm"] and "0 faults" in capsys.readouterr().out
    assert all(row.acceptance > 0.8 for row in tests["faces-ldm"].rows if row.family == "projections")


def test_a_label_of_one_s_own_images_is_read_from_pixels_and_not_from_random_noise() -> None:
    tables = tutorial(3).main(images=120)
    assert tables["pixels"].mean["balanced_accuracy"].low > 0.8
    assert tables["random"].mean["balanced_accuracy"].estimate < 0.7


def test_a_model_of_one_s_own_is_a_view_and_brings_its_pictures_back() -> None:
    assert tutorial(4).main(images=8) < 0.2


def test_what_training_adds_is_an_estimate_with_an_interval() -> None:
    difference = tutorial(5).main(images=120)
    assert difference.low <= difference.estimate <= difference.high
