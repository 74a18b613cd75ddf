import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from click import Command

from noisezoo import cli

MonkeyPatch, Capture = pytest.MonkeyPatch, pytest.CaptureFixture[str]
ROOT = Path(__file__).resolve().parents[2]


def commands(group: Command, *names: str) -> Iterator[tuple[str, Command]]:
    """Every command by the words that call it, those of groups too."""
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, *names, name)
    if not hasattr(group, "commands"):
        yield " ".join(names), group


COMMANDS = dict(commands(typer.main.get_command(cli.make_app())))


def run(monkeypatch: MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["noisezoo", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


BAD_USAGE = {
    "publishing without a view": (["publish", "{tmp}", "me/mine", "--without", ","], "--without names no view"),
    "an unknown recipe": (["build", "nonsense", "--out", "{tmp}/o"], "unknown recipe 'nonsense'"),
    "a recipe file that is not there": (["build", "{tmp}/no.yaml", "--out", "{tmp}/o"], "there is no recipe file"),
    "an unknown view": (["build", "digits", "--views", "pixles", "--out", "{tmp}/o"], "did you mean pixels"),
    "an unknown source": (["build", "faces", "--source", "celebs", "--out", "{tmp}/o"], "unknown source 'celebs'"),
    "an image folder that is not there": (
        ["build", "faces", "--source", "imagefolder:{tmp}/none", "--views", "pixels", "--out", "{tmp}/o"],
        "there is no folder",
    ),
    "an image folder without images": (
        ["build", "faces", "--source", "imagefolder:{tmp}/empty", "--views", "pixels", "--out", "{tmp}/o"],
        "no images",
    ),
    "zero images": (["build", "digits", "--limit", "0", "--out", "{tmp}/o"], "at least one image"),
    "no process": (["build", "digits", "--processes", "0", "--out", "{tmp}/o"], "at least one process"),
    "a setting without a value": (["build", "digits", "--set", "seed", "--out", "{tmp}/o"], "KEY=VALUE"),
    "a setting that does not exist": (["build", "digits", "--set", "sede=1", "--out", "{tmp}/o"], "settings.sede"),
    "a setting out of range": (
        ["build", "digits", "--set", "num_inference_steps=0", "--out", "{tmp}/o"],
        "settings.num_inference_steps",
    ),
    "a local model without its view": (["build", "digits", "--folder", "{tmp}/m", "--out", "{tmp}/o"], "NAME=PATH"),
    "a local model that is not there": (
        ["build", "digits", "--folder", "digits-ddpm={tmp}/none", "--out", "{tmp}/o"],
        "give another by --folder digits-ddpm=PATH",
    ),
    "a local model that no view reads": (
        ["build", "digits", "--folder", "faces-ddpm={tmp}/other", "--out", "{tmp}/o"],
        "no view of the recipe reads that model",
    ),
    "a column of prompts that is not there": (
        ["build", "digits", "--set", "prompt_column=caption", "--out", "{tmp}/o"],
        "prompt_column 'caption' is not a label",
    ),
    "an accuracy that was not measured": (
        ["build", "digits", "--set", "accuracy=perfect", "--out", "{tmp}/o"],
        "perfect",
    ),
    "a folder with other files": (["build", "digits", "--out", "{tmp}/other"], "is not empty and holds no build"),
    "a file in the place of a folder": (["build", "digits", "--out", "{tmp}/other/file"], "cannot write to"),
    "a look every no seconds": (["status", "{tmp}/other", "--every", "0"], "--every 0"),
    "a plan for an unknown device": (["plan", "faces", "--gpu", "h1000"], "unknown device 'h1000'"),
    "a plan for no image": (["plan", "faces", "--images", "0"], "--images 0"),
    "a plan for nobody knows how many images": (["plan", "faces", "--source", "hf:me/own"], "with --images"),
    "a deadline that cannot be met": (["plan", "faces", "--deadline", "0.001"], "no number of processes"),
    "a plan with an unknown scheme": (["plan", "faces", "--set", "scheme=ddmi"], "unknown scheme 'ddmi'"),
    "status of no build": (["status", "{tmp}/other"], "holds no build"),
    "analysis of no dataset": (["analyze", "{tmp}/other"], "is not a finished NoiseZoo folder"),
    "an option of no source": (["build", "digits", "--option", "image", "--out", "{tmp}/o"], "KEY=VALUE"),
    "an option that the source does not take": (
        ["build", "digits", "--option", "image=a", "--out", "{tmp}/o"],
        "source 'digits': Digits() takes no arguments",
    ),
    "verification of nothing": (["verify", "{tmp}/none"], "there is no folder"),
    "an option without its source": (["verify", "{tmp}/other", "--option", "image=a"], "--source"),
    "publication of no dataset": (["publish", "{tmp}/other", "me/it"], "holds no published dataset"),
    "an unknown gate": (
        ["publish", "{tmp}/other", "me/it", "--gated", "perhaps"],
        "'perhaps' is not one of 'manual', 'auto', 'no'",
    ),
    "removal of nothing": (["remove", "{tmp}/other"], "no image is named"),
    "removal from no dataset": (["remove", "{tmp}/other", "--ids", "a"], "holds no published dataset"),
    "a list of ids that is not there": (["remove", "{tmp}/other", "--ids-file", "{tmp}/ids"], "cannot read ids from"),
    "a join of no dataset": (["join", "{tmp}/other", "--out", "{tmp}/o"], "holds no published dataset"),
    "a limit that is no number": (["build", "digits", "--limit", "many", "--out", "{tmp}/o"], "'--limit'"),
    "a negative limit": (["build", "digits", "--limit", "-5", "--out", "{tmp}/o"], "a limit of 1 or more"),
    "a command that is misspelt": (["bild", "digits"], "Did you mean 'build'?"),
    "an option that is misspelt": (["build", "digits", "--limt", "5", "--out", "{tmp}/o"], "--limit"),
    "no folder": (["build", "digits"], "'--out'; see `noisezoo build --help`"),
    "a setting that is misspelt": (["build", "digits", "--set", "sede=1", "--out", "{tmp}/o"], "did you mean seed?"),
    "a setting without a name": (["build", "digits", "--set", "=1", "--out", "{tmp}/o"], "KEY=VALUE"),
    "a setting that is no YAML": (
        ["build", "digits", "--set", "prompt=[a", "--out", "{tmp}/o"],
        "prompt=[a: the value",
    ),
    "a field of a setting's name": (["build", "{tmp}/seed.yaml", "--out", "{tmp}/o"], "did you mean settings.seed?"),
    "a field that is misspelt": (
        ["build", "{tmp}/viws.yaml", "--out", "{tmp}/o"],
        "viws: there is no such field; did you mean views?",
    ),
    "no view": (["build", "digits", "--views", "", "--out", "{tmp}/o"], "--views names no view"),
    "commas for views": (["plan", "digits", "--views", " , "], "--views names no view"),
    "a scheme that is misspelt": (
        ["build", "digits", "--set", "scheme=dimm", "--out", "{tmp}/o"],
        "did you mean ddim?",
    ),
    "a scheme without that option": (
        ["build", "digits", "--set", "scheme_options={{steps: 3}}", "--out", "{tmp}/o"],
        "has no option 'steps'",
    ),
    "a scheme's option of another type": (
        [
            "build",
            "digits",
            "--set",
            "scheme=ddim-fixed-point",
            "--set",
            "scheme_options={{iterations: many}}",
            "--out",
            "{tmp}/o",
        ],
        "iterations is 'many'",
    ),
    "a metric that there is not": (["build", "digits", "--set", "metrics=ssmi", "--out", "{tmp}/o"], "ssmi"),
    "a folder in the place of a source": (
        ["build", "faces", "--source", "{tmp}/other", "--out", "{tmp}/o"],
        "write imagefolder:{tmp}/other",
    ),
    "a repository in the place of a source": (
        ["build", "faces", "--source", "me/photos", "--out", "{tmp}/o"],
        "did you mean hf:me/photos?",
    ),
    "a source that is misspelt": (["build", "faces", "--source", "celbea", "--out", "{tmp}/o"], "did you mean celeba?"),
    "an image folder without its path": (
        ["build", "faces", "--source", "imagefolder", "--out", "{tmp}/o"],
        "imagefolder needs a path, as in imagefolder:PATH",
    ),
    "a folder in the place of a recipe": (
        ["build", "{tmp}/other", "--out", "{tmp}/o"],
        "--source imagefolder:{tmp}/other",
    ),
    "a recipe that is misspelt": (["build", "digit", "--out", "{tmp}/o"], "did you mean digits?"),
    "a recipe file without its ending": (["build", "{tmp}/seed", "--out", "{tmp}/o"], "did you mean {tmp}/seed.yaml?"),
    "a view that is not in the zoo": (["models", "sd51"], "the zoo has no view 'sd51'"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_USAGE.values(), ids=BAD_USAGE.keys())
def test_bad_usage_is_one_line_that_names_the_thing_exit_code_2_and_no_new_file(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "seed.yaml").write_text("{name: a, source: {name: digits}, views: [pixels-8], seed: 3}")
    (tmp_path / "viws.yaml").write_text("{name: a, source: {name: digits}, viws: [pixels-8]}")
    before = sorted(tmp_path.rglob("*"))
    code = run(monkeypatch, *(argument.format(tmp=tmp_path) for argument in arguments))
    error = capsys.readouterr().err.strip()
    assert code == 2
    assert error.startswith("error: ") and len(error.splitlines()) == 1 and message.format(tmp=tmp_path) in error
    published = [p for p in tmp_path.rglob("*") if p not in before and p.suffix in (".parquet", ".md")]
    assert published == []


NO_FOLDER = {name: case for name, case in BAD_USAGE.items()
             if case[0][0] == "build" and any(part in ("--set", "--views", "--limit", "--source") for part in case[0])
             and "prompt_column" not in str(case) and "--folder" not in case[0]}  # fmt: skip


@pytest.mark.parametrize("arguments", [case[0] for case in NO_FOLDER.values()], ids=NO_FOLDER.keys())
def test_a_wrong_setting_leaves_no_folder_that_would_refuse_the_corrected_command(
    arguments: list[str], tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    assert run(monkeypatch, *(argument.format(tmp=tmp_path) for argument in arguments)) == 2
    assert not (tmp_path / "o").exists()


def test_one_metric_may_be_set_without_brackets() -> None:
    from noisezoo.commands.options import chosen_recipe

    assert chosen_recipe("digits", settings=["metrics=ssim"]).settings.metrics == ("ssim",)
    assert chosen_recipe("digits", settings=["metrics=psnr, ssim"]).settings.metrics == ("psnr", "ssim")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_and_version_are_given_by_their_short_names(
    option: str, monkeypatch: MonkeyPatch, capsys: Capture
) -> None:
    from importlib.metadata import version

    assert run(monkeypatch, option) == 0 and "cluster" in capsys.readouterr().out
    assert run(monkeypatch, "cluster", "slurm", option) == 0 and "--gpus-per-node" in capsys.readouterr().out
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"noisezoo {version('noisezoo')}\n"


def test_ctrl_c_in_any_command_is_one_line_and_exit_code_130(monkeypatch: MonkeyPatch, capsys: Capture) -> None:
    from noisezoo.commands import recipes

    def interrupt() -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(recipes, "bundled", interrupt)
    assert run(monkeypatch, "recipes") == 130
    assert capsys.readouterr().err == "error: stopped; run the same command to go on\n"


def parses(line: str) -> None:
    """Parse one `noisezoo ...` line as the command would, without running it."""
    words = shlex.split(line, comments=True)
    name = next(name for name in COMMANDS if words[: len(name.split()) + 1] == ["noisezoo", *name.split()])
    COMMANDS[name].make_context(name, words[len(name.split()) + 1 :])


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_shows_an_example_that_parses(name: str) -> None:
    found = re.search(r"Example: (noisezoo .*)", COMMANDS[name].help or "")
    assert found is not None
    parses(found[1].split(" > ")[0])


def test_recipes_prints_yaml_that_reads_back_as_the_same_recipe(
    tmp_path: Path, monkeypatch: MonkeyPatch, capsys: Capture
) -> None:
    from noisezoo.builder.recipe import read_recipe

    assert run(monkeypatch, "recipes", "faces") == 0
    copy = tmp_path / "mine.yaml"
    copy.write_text(capsys.readouterr().out)
    assert read_recipe(str(copy)) == read_recipe("faces")


def test_options_become_the_recipe_s_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    from noisezoo.commands import options

    monkeypatch.setattr(options, "read_recipe", lambda name, fields: fields)
    settings, folders = ["seed=7", "scheme_options={share: 0.1}"], ["sd15=a=b", "sdxl=models/xl"]
    given = {"views": "random-64, pixels-8", "limit": 9, "settings": settings, "folders": folders}
    assert options.chosen_recipe("faces", source="digits", **given) == {
        "source": {"name": "digits", "limit": 9, "split": None, "options": {}},
        "views": ["random-64", "pixels-8"],
        "settings": {"seed": 7, "scheme_options": {"share": 0.1}},
        "folders": {"sd15": "a=b", "sdxl": "models/xl"},
    }

    def images(**given: Any) -> Any:
        return options.chosen_recipe("faces", **given)["source"]  # type: ignore[index]

    assert images(source="hf:me/photos", source_options=["image=photo", "labels=[a, b]"])["options"] == {
        "image": "photo", "labels": ["a", "b"],
    }  # fmt: skip
    assert images(source_options=["splits=hash"]) == {"options": {"splits": "hash"}}
    assert options.chosen_recipe("faces") == {"source": {}, "settings": {}}


PLUGIN = """
from typing import Annotated
import typer
from noisezoo.commands import register_command
from noisezoo.errors import UsageError

@register_command("greet")
def greet(name: Annotated[str, typer.Argument(help="Whom.")], times: int = 1) -> None:
    \"\"\"Greet somebody.\"\"\"
    if times < 1:
        raise UsageError("--times 0: greet at least once")
    print(" ".join(["hello", name] * times))
"""


def installed_plugin(folder: Path, code: str) -> dict[str, str]:
    """The environment of a process that finds a plug-in package installed in `folder`, outside of the tree."""
    (folder / "greeter-1.0.dist-info").mkdir(parents=True)
    (folder / "greeter-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: greeter\nVersion: 1.0\n")
    (folder / "greeter-1.0.dist-info" / "entry_points.txt").write_text("[noisezoo.plugins]\ngreeter = greeter\n")
    (folder / "greeter.py").write_text(code)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), "COLUMNS": "120"}


def with_plugin(environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "noisezoo", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_plug_in_adds_a_command_without_a_change_of_ours(tmp_path: Path) -> None:
    environment = installed_plugin(tmp_path, PLUGIN)
    greeted = with_plugin(environment, "greet", "Ada", "--times", "2")
    assert (greeted.returncode, greeted.stdout) == (0, "hello Ada hello Ada\n"), greeted.stderr
    assert "Greet somebody." in with_plugin(environment, "--help").stdout
    refused = with_plugin(environment, "greet", "Ada", "--times", "0")
    assert (refused.returncode, refused.stderr) == (2, "error: --times 0: greet at least once\n")


def test_a_plug_in_that_takes_a_name_of_ours_is_refused_by_name(tmp_path: Path) -> None:
    refused = with_plugin(installed_plugin(tmp_path, PLUGIN.replace('"greet")', '"build")')), "recipes")
    assert refused.returncode == 2
    assert "greeter" in refused.stderr and "both add a command `noisezoo build`: rename one" in refused.stderr


def test_showing_what_there_is_loads_no_heavy_library() -> None:
    code = (
        "import sys; from noisezoo.cli import make_app; make_app(); "
        "print([name for name in ('torch', 'diffusers', 'transformers', 'datasets', 'pandas', 'sklearn', 'matplotlib') "
        "if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
