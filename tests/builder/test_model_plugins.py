"""A user's own package adds a network class, a family of encoders, a scheme and a row, without touching ours."""

import json
from pathlib import Path

import pytest

from tests.fresh import Fresh

PLUGIN = """
from dataclasses import dataclass

import numpy as np
import torch

from noisezoo import zoo
from noisezoo.builder.models import Denoiser, Encoder, Layout, Scheme


class Negated(Denoiser, network="UNet1DModel"):
    def encode(self, prompt):
        return {}

    def predict(self, y, time, conditions):
        return torch.zeros_like(y)


class Means(Encoder, name="means", layout=Layout("means.json", "gain", (), ("means",)), package="noisezoo"):
    def load(self, folder, stored, untrained_seed):
        self.model = torch.nn.Identity()
        self.preprocess = lambda image: torch.from_numpy(np.asarray(image, np.float32)).permute(2, 0, 1)

    def forward(self, pixels):
        return pixels.mean(dim=(2, 3))


@dataclass
class Halved(Scheme, name="halved"):
    share: float = 0.5

    def step(self, y, network, here, there):
        return y + 0 * network(y, there.time)


zoo.register(zoo.View("mine", "embedding", "means", "FOLDER", 8, (3,), "MIT", 0.0, "what I made"))
"""
"""Written into a package of its own, which names it as its entry point."""

USE = """
import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import noisezoo
from noisezoo import zoo
from noisezoo.builder import Encoder, SCHEMES
from noisezoo.builder.models import families, make_scheme
from noisezoo.builder.models.denoisers import denoiser_of
from noisezoo.builder.recipe import make_recipe
from noisezoo.builder.__main__ import run

folder, out = map(Path, sys.argv[1:])
told = {"row": zoo.get("mine").about, "twin": zoo.get("mine-untrained").untrained, "families": list(families())}
told["network"] = denoiser_of({"_class_name": "UNet1DModel"}).__name__
recipe = make_recipe({"name": "t", "source": {"name": "digits", "limit": 4}, "views": ["mine", "digits-ddpm"],
                      "settings": {"scheme": "halved", "num_inference_steps": 2, "reconstruct": 0.0}})
told["scheme"] = SCHEMES["halved"].__name__
told["recognised"] = type(Encoder.from_pretrained(folder)).__name__
run(recipe, out)
rows = noisezoo.load(out, views=["mine", "digits-ddpm"])
told["means"] = bool((np.ptp(noisezoo.matrix(rows, "mine"), axis=1) == 0).all())  # digits are grey
told["software"] = json.loads(next(out.glob("_build/begun.json")).read_text())["software"]
print(json.dumps(told))
"""


def test_a_package_adds_a_network_an_encoder_a_scheme_and_a_row_that_build_as_ours_do(tmp_path: Path) -> None:
    folder, site = tmp_path / "model", tmp_path / "site"
    folder.mkdir()
    (folder / "means.json").write_text('{"gain": 1}')
    from safetensors.numpy import save_file

    save_file({}, folder / "means.safetensors")
    (site / "mine-1.dist-info").mkdir(parents=True)
    (site / "mine_plugin.py").write_text(PLUGIN.replace("FOLDER", str(folder)))
    (site / "mine-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    (site / "mine-1.dist-info" / "entry_points.txt").write_text("[noisezoo.plugins]\nmine = mine_plugin\n")
    code = f"import sys; sys.path.append({str(site)!r})\n{USE}"
    build = Fresh(code, str(folder), str(tmp_path / "noisezoo"))
    out, said = build.communicate()
    assert build.poll() == 0, said[-2000:]
    told = json.loads(out.splitlines()[-1])
    assert (told["row"], told["twin"], told["network"]) == ("what I made", True, "Negated")
    assert told["families"] == ["open_clip", "timm", "transformers", "means"]
    assert (told["scheme"], told["recognised"], told["means"]) == ("Halved", "Means", True)
    assert {"torch", "timm", "noisezoo"} <= set(told["software"])


def test_a_class_in_a_file_beside_ours_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A kind of network is one class in one file: nothing else names it."""
    from noisezoo.builder.models import denoisers
    from noisezoo.builder.models.denoisers import Denoiser, denoiser_of
    from noisezoo.plugins import load_package

    (tmp_path / "mine.py").write_text(
        "from noisezoo.builder.models.denoisers import Denoiser\n"
        "class Mine(Denoiser, network='MyNetwork'):\n    def encode(self, prompt):\n        return {}\n"
    )
    load_package(denoisers.__name__)  # ours first, into the table that outlives this test
    monkeypatch.setattr(denoisers, "__path__", [*denoisers.__path__, str(tmp_path)])
    monkeypatch.setattr(Denoiser, "TABLE", dict(Denoiser.TABLE))
    load_package.cache_clear()
    assert denoiser_of({"_class_name": "MyNetwork"}).__name__ == "Mine"
