"""`noisezoo models`: the zoo as a table, one view with its cost, and a row for a model that has none."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from noisezoo import cli, zoo
from noisezoo.commands import models as command
from noisezoo.costs import cost_of

MonkeyPatch, Capture = pytest.MonkeyPatch, pytest.CaptureFixture[str]
ROW = zoo.View("mine", "noise", "diffusers", "./my-model", 64, (4, 8, 8), "MIT", 1.5, "a test's", gated=True)


@pytest.fixture(autouse=True)
def restored(monkeypatch: MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(zoo, "ROWS", dict(zoo.ROWS))
    yield


class Shown:
    """What a run printed: its lines, and a view's line by its name."""

    def __init__(self, monkeypatch: MonkeyPatch, capsys: Capture, *arguments: str) -> None:
        monkeypatch.setattr("sys.argv", ["noisezoo", "models", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        self.code = int(stop.value.code or 0)
        self.text, self.error = capsys.readouterr()
        self.names = re.findall(r"^│ (\S+) ", self.text, flags=re.MULTILINE)


def test_the_table_groups_every_trained_view_by_kind_and_counts_the_twins_it_hides(
    monkeypatch: MonkeyPatch, capsys: Capture
) -> None:
    shown = Shown(monkeypatch, capsys)
    by_kind = [row.name for kind in ("noise", "embedding", "control") for row in zoo.rows()
               if row.kind == kind and not row.untrained]  # fmt: skip
    assert shown.names == by_kind
    hidden = len(zoo.ROWS) - len(by_kind)
    assert f"{hidden} views named NAME-untrained" in shown.text and "--all" in shown.text


def test_all_shows_the_untrained_twins_and_hides_nothing(monkeypatch: MonkeyPatch, capsys: Capture) -> None:
    shown = Shown(monkeypatch, capsys, "--all")
    assert sorted(shown.names) == sorted(zoo.ROWS)
    assert "show them with" not in shown.text


def test_a_kind_shows_its_views_alone(monkeypatch: MonkeyPatch, capsys: Capture) -> None:
    shown = Shown(monkeypatch, capsys, "--kind", "noise")
    assert set(shown.names) == {row.name for row in zoo.rows() if row.kind == "noise"}
    assert "NAME-untrained" not in shown.text, "the twins of noise views are controls"


def test_a_line_says_shape_clip_gate_licence_and_work(monkeypatch: MonkeyPatch, capsys: Capture) -> None:
    shown = Shown(monkeypatch, capsys)
    line = next(line for line in shown.text.splitlines() if line.startswith("│ flux-dev "))
    cells = [cell.strip() for cell in line.split("│")[1:-2]]
    assert cells == [
        "flux-dev",
        "noise",
        "16x128x128",
        "1024",
        "yes",
        "flow",
        "yes",
        "FLUX.1-dev-Non-Commercial",
        "74,385",
    ]


def test_an_unknown_kind_is_refused_with_the_known_ones(monkeypatch: MonkeyPatch, capsys: Capture) -> None:
    shown = Shown(monkeypatch, capsys, "--kind", "noises")
    assert shown.code == 2
    assert "'noises' is not one of 'noise', 'embedding', 'control'" in shown.error


@pytest.mark.parametrize(
    ("name", "hours"),
    [("sd15", 0.85), ("sd21", 2.3), ("sdxl", 7.1), ("sd3-medium", 9.4), ("flux-dev", 78.0), ("dit-xl-2-256", 0.25),
     ("ldm-celebahq-256", 0.21), ("ddpm-celebahq-256", 0.52)],
)  # fmt: skip
def test_the_hours_of_30000_images_in_50_steps_are_those_of_the_design(name: str, hours: float) -> None:
    assert cost_of(zoo.get(name), 30_000, 50).h100_hours == pytest.approx(hours, rel=0.05)


def test_cost_counts_a_pass_a_step_two_when_guided_and_one_for_an_encoder() -> None:
    noise = replace(ROW, autoencoder="faces-vae", autoencoder_gflops=2.0)
    plain, guided = cost_of(noise, 10, 20), cost_of(noise, 10, 20, guided=True)
    assert (plain.forwards, plain.gflops, plain.bytes) == (200, 10 * (20 * 1.5 + 2.0), 10 * 4 * 8 * 8 * 2)
    assert (guided.forwards, guided.gflops, guided.bytes) == (400, 10 * (40 * 1.5 + 2.0), plain.bytes)
    encoder = cost_of(replace(ROW, kind="embedding", family="timm", shape=(768,)), 10, 20, guided=True)
    assert (encoder.forwards, encoder.gflops, encoder.bytes) == (10, 15.0, 10 * 768 * 4)
    assert cost_of(zoo.get("pixels"), 10).forwards == 0


def test_one_view_is_told_in_words_with_its_cost(monkeypatch: MonkeyPatch, capsys: Capture) -> None:
    shown = " ".join(Shown(monkeypatch, capsys, "sd15", "--images", "1000", "--steps", "20", "--guided").text.split())
    for text in (
        "stable-diffusion-v1-5/stable-diffusion-v1-5 at 451f4fe16113bff5a5d2269ed5ad43b0592e9a14", "safetensors",
        "CreativeML-OpenRAIL-M", "access open", "512 x 512 px", "4x64x64 float16, 16,384 numbers", "view sd-vae",
        "conditioned on CLIP yes", "view sd15-untrained", "1,000 images x 20 steps", "40,000 forwards (guided",
        "33.2 PFLOP", "0.023 hours of one H100", "32.8 MB of float16",
    ):  # fmt: skip
        assert text in shown, text


def test_a_gated_view_says_how_to_get_access_and_a_local_one_needs_none(
    monkeypatch: MonkeyPatch, capsys: Capture
) -> None:
    gated = Shown(monkeypatch, capsys, "dinov3-vit-l16").text
    assert "gated: accept its licence at" in gated and "hf auth login" in gated and "--folder dinov3-vit-l16=" in gated
    zoo.register(ROW)
    assert "gated" not in Shown(monkeypatch, capsys, "mine").text


def test_what_is_not_pinned_pickled_or_shipped_is_said(monkeypatch: MonkeyPatch, capsys: Capture) -> None:
    unpinned = Shown(monkeypatch, capsys, "mae-vit-b16").text
    assert "at main, pinned by the build" in unpinned
    pickled = Shown(monkeypatch, capsys, "ldm-celebahq-256").text
    assert ".bin pickles, read through weights_only" in pickled
    assert "ships with NoiseZoo" in Shown(monkeypatch, capsys, "faces-ddpm").text


def test_a_view_without_a_model_names_no_weights(monkeypatch: MonkeyPatch, capsys: Capture) -> None:
    shown = Shown(monkeypatch, capsys, "pixels").text
    assert "no network" in shown and "weights" not in shown and "PFLOP" not in shown


def test_no_images_is_bad_usage(monkeypatch: MonkeyPatch, capsys: Capture) -> None:
    assert Shown(monkeypatch, capsys, "sd15", "--images", "0").code == 2


def test_a_described_model_is_printed_as_a_row_that_reads_back(monkeypatch: MonkeyPatch, capsys: Capture) -> None:
    def described(family: str, folder: str | Path) -> zoo.View:
        return replace(ROW, family=family, repo=str(folder))

    monkeypatch.setattr(command, "describe", described)
    (row,) = yaml.safe_load(Shown(monkeypatch, capsys, "--describe", "diffusers:./my-model").text)["rows"]
    assert zoo.View(**{**row, "shape": tuple(row["shape"])}) == ROW


@pytest.mark.parametrize("given", ["./my-model", "diffusers:", ":./my-model"])
def test_a_description_without_family_or_folder_is_bad_usage(
    given: str, monkeypatch: MonkeyPatch, capsys: Capture
) -> None:
    shown = Shown(monkeypatch, capsys, "--describe", given)
    assert shown.code == 2
    assert "--describe takes FAMILY:FOLDER_OR_HUB_ID" in shown.error
