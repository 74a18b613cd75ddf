"""Every command line that README, CONTRIBUTING, docs/ and --help print is run, on small stand-ins of what it names."""

import re
import shlex
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from noisezoo import cli, load, zoo
from noisezoo.analysis.studies import Effort
from noisezoo.builder.__main__ import main as work_on, run
from noisezoo.builder.dataset.leave_out import leave_out
from noisezoo.builder.launch import engines, local, machines
from noisezoo.builder.launch.machines import Machine
from noisezoo.builder.recipe import Recipe, read_recipe
from noisezoo.builder.sources.faces import Faces
from noisezoo.builder.sources.source import SOURCES
from noisezoo.commands import analyze, demo, options
from tests.builder.test_pie_bench import write_benchmark
from tests.hub_server import TOKEN, HubServer, client
from tests.noisezoo.test_cli import COMMANDS, parses

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
IMAGES, FEW = 8, 96
"""Images of a build, and of the dataset that is analysed."""
FEW_STUDIES = ("structure", "inversions", "edits")
"""In the place of all studies; tests/analysis/test_studies.py runs each of them through the command."""
TINY = Effort(n_splits=6, n_permutations=1, max_rows=FEW)
WORKER = "accelerate launch -m noisezoo.builder "
STAND_INS = {
    "hf://buckets/NAMESPACE/NAME/PATH": "shared/hub",
    "ORG/NAME": "me/faces", "FAMILY:FOLDER_OR_HUB_ID": "diffusers:model", "timm:FOLDER_OR_HUB_ID": "open_clip:encoder",
    "FAMILY:FOLDER": "diffusers:model", "YOUR-VIEW": "pixels", "RECIPE.yaml": "celeba.yaml",
    "pie-bench:PIE-Bench": "pie-bench:PATH", "pie-bench:PATH --view sd15": "pie-bench:pie --view faces-ldm",
    "--latents --recompute 16": "--latents --recompute 1 --steps 2,3",
    "PATH": "model", "DIR": "folder", "/shared/": "shared/", "s3://my-bucket/": "shared/",
}  # fmt: skip
"""What a page leaves to its reader -> what stands in the test's folder."""


def printed() -> Iterator[tuple[str, str]]:
    """(where, line) of every command line: whole lines of code, pieces of code in sentences, examples of the help."""
    for page in PAGES:
        for block in re.findall(r"^```.*?\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            yield from ((page.name, line) for line in lines if line.startswith(("noisezoo ", WORKER)))
        for piece in re.findall(r"`(noisezoo [^`]+)`", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)):
            if is_whole(piece):
                yield page.name, piece
    for name, command in COMMANDS.items():
        yield from ((f"{name} --help", line) for line in re.findall(r"Example: (noisezoo .*)", command.help or ""))


def is_whole(piece: str) -> bool:
    """Whether code in a sentence is a command with all that it needs, and not a mention of one."""
    try:
        parses(piece.split(" > ")[0])
    except (typer.TyperException, typer.Exit, StopIteration):
        return False
    return len(piece.split()) > 2


LINES = dict((" ".join(line.partition(" # ")[0].partition(" #")[0].split()), where) for where, line in printed())


@dataclass
class Done(local.Job):
    """The stand-in of processes that an engine has started elsewhere."""

    code: int

    def poll(self) -> int:
        """Their exit code."""
        return self.code

    def end(self, number: int) -> None:
        """They have ended."""


class Drawn(Faces):
    """The stand-in of every source of real pictures: few drawn faces of a split `train`, fewer of `test`."""

    def scan(self) -> pa.Table:
        """The first faces."""
        table = super().scan().slice(0, FEW + IMAGES)
        return table.append_column("split", [["train"] * FEW + ["test"] * IMAGES])


def source(*_: str, **__: Any) -> Faces:
    """Open the stand-in, whatever the source's options are."""
    return Drawn()


def small(name: str, overrides: dict[str, Any] | None = None) -> Recipe:
    """A recipe with few images and steps, and nothing else changed."""
    recipe = read_recipe(name, overrides)
    few = {"count": FEW, "num_inference_steps": 2} if "count" in recipe.source.options else {}
    options = {**recipe.source.options, **few}
    update = {"limit": min(recipe.source.limit or IMAGES, IMAGES), "split": None, "options": options}
    images = recipe.source.model_copy(update=update)
    settings = recipe.settings.model_copy(update={"num_inference_steps": 2, "batch_size": 8})
    return recipe.model_copy(update={"source": images, "settings": settings, "view_settings": {}})


def tiny_zoo() -> dict[str, zoo.View]:
    """The zoo with a model that ships in the place of each on the Hub."""
    stands = {"noise": "faces-ddpm", "embedding": "faces-clip", "control": "faces-ddpm-untrained"}
    found = {}
    for name, row in zoo.ROWS.items():
        stand = zoo.get("faces-vae" if row.family == "vae" else stands[row.kind])
        found[name] = replace(stand, name=name, kind=row.kind) if row.repo and row.folder is None else row
    return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the command lines name."""
    folder = tmp_path_factory.mktemp("world")
    faces = {"views": ["faces-ddpm", "faces-ddpm-untrained", "faces-clip", "pixels"], "slice_rows": 32}
    for name, scheme in (("my-faces", "ddim"), ("my-faces-heun", "heun")):
        settings = {"scheme": scheme, "num_inference_steps": 2, "batch_size": 32}
        recipe = read_recipe("faces", {**faces, "settings": settings, "source": {"limit": FEW}})
        assert run(recipe, folder / name)
    with leave_out(folder / "my-faces", ["pixels"]) as published:
        shutil.copytree(published, folder / "published")
    assert run(small("digits", {"views": ["pixels", "random-64"]}), folder / "my-digits")
    shutil.copytree(folder / "my-digits", folder / "my-photos")
    options = {"count": FEW, "num_inference_steps": 8, "real": "digits"}
    assert run(read_recipe("true-noise", {"source": {"options": options}, "settings": settings}), folder / "true-noise")
    shutil.copytree(folder / "true-noise", folder / "true-noise-sd15")
    (folder / "photos").mkdir()
    for i in range(IMAGES):
        Image.new("RGB", (40, 40), (i * 20, 90, 200 - i * 20)).save(folder / "photos" / f"{i}.png")
    write_benchmark(folder / "pie")
    (folder / "celeba.yaml").write_text("{name: celeba, source: {name: celeba, limit: 8}, views: [random]}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SOURCES, "celeba", f"{__name__}:source")
        assert run(small(str(folder / "celeba.yaml")), folder / "shared" / "celeba")
    (folder / "chentasker" / "NoiseZoo").mkdir(parents=True)
    noise = np.random.default_rng(0).standard_normal((FEW, 3, 32, 32)).astype(np.float16)
    np.save(folder / "chentasker" / "NoiseZoo" / "noises_sd15.npy", noise)
    for name, view in (("model", "faces-ddpm"), ("encoder", "faces-clip")):
        shutil.copytree(str(zoo.get(view).folder), folder / name)
    return folder


@pytest.fixture
def here(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the world as the working directory, where launches work in this process and the Hub is a local one."""
    monkeypatch.chdir(shutil.copytree(world, tmp_path / "here"))
    for name in ("celeba", "hf", "YOURS"):
        monkeypatch.setitem(SOURCES, name, f"{__name__}:source")
    monkeypatch.setattr(zoo, "ROWS", tiny_zoo())
    monkeypatch.setattr(options, "read_recipe", small)
    monkeypatch.setattr("noisezoo.builder.__main__.read_recipe", small)
    monkeypatch.setattr(machines, "calibrate", lambda *_: Machine("cpu", "a CPU", 50.0, 50.0, 2e-3, 1, None))
    monkeypatch.setattr(local, "_run", lambda builds, *_: int(not all([run(b.recipe, b.root) for b in builds])))
    for name in engines.ENGINES:
        monkeypatch.setitem(engines.ENGINES, name, lambda build, *_: Done(int(not run(build.recipe, build.root))))
    studied = analyze.run_analyses
    monkeypatch.setattr(
        analyze, "run_analyses", lambda *a, studies, **k: studied(*a, studies=studies or FEW_STUDIES, **k)
    )
    monkeypatch.setattr(analyze, "Effort", lambda: TINY)
    monkeypatch.setattr(analyze, "QUICK", TINY)
    few = {"source": {"limit": FEW}}
    monkeypatch.setattr(demo, "read_recipe", lambda name, fields=None: read_recipe(name, {**few, **(fields or {})}))
    monkeypatch.setattr(demo, "PARTS", (demo.Part("digits", ("digits-ddpm",), again=("digits-ddpm",)),))
    monkeypatch.setattr(demo, "PAPER", {"scheme": "ddim", "num_inference_steps": 2})
    monkeypatch.setattr(demo, "EFFORT", TINY)
    monkeypatch.setattr(demo, "all_studies", lambda: {"structure": None, "inversions": None, "edits": None})
    monkeypatch.setattr(demo, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))  # a process would make it whole
    with HubServer() as server, client(server):
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        yield Path.cwd()


def filled(line: str) -> list[str]:
    """The words of a line, with what stands here for what it leaves open."""
    ids = load("my-faces", views=[])["image_id"]
    line = line.replace("ID,ID", f"{ids[0]},{ids[1]}")
    line = re.sub(r"faces-\d{6},faces-\d{6}", f"{ids[0]},{ids[1]}", line)
    for open_word, stand_in in STAND_INS.items():
        line = line.replace(open_word, stand_in)
    left = [word for word in re.findall(r"\b[A-Z][A-Z_]+\b", line) if word != "YOURS"]
    assert not left, f"{line}: what stands for {left[0]}? Add it to STAND_INS"
    return shlex.split(line)


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{LINES[line]}: {line}")
def test_a_printed_command_line_does_what_it_says(
    line: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command, _, target = line.partition(" > ")
    given = filled(command)
    if given[1] == "build":
        shutil.rmtree(given[given.index("--out") + 1], ignore_errors=True)
    if given[1] == "inversions":
        given += ["--steps", "4", "--measures", "psnr,mse"]  # others need networks, or a package, that are not here
    if line.startswith(WORKER):
        worker = typer.Typer()
        worker.command()(work_on)
        assert CliRunner().invoke(worker, given[len(WORKER.split()) :]).exit_code == 0
        return
    monkeypatch.setattr("sys.argv", given)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = capsys.readouterr()
    assert not stop.value.code, said.err
    if target:
        Path(target).write_text(said.out)
        assert read_recipe(target) == read_recipe(given[-1])


def test_all_the_pages_and_every_command_are_looked_at() -> None:
    pages = {where for where in LINES.values() if where.endswith(".md")}
    assert {"README.md", "CONTRIBUTING.md", "cluster.md"} <= pages
    assert {line.split()[1] for line in LINES if line.startswith("noisezoo")} >= {name.split()[0] for name in COMMANDS}
    assert len(LINES) > 30
