"""What a run took beside what was predicted before it: each view's seconds and bytes, and the published folder's."""

import json
from pathlib import Path
from typing import Any

import pytest

from noisezoo.builder.dataset.finish import finish
from noisezoo.builder.engine.build import Build, prepare
from noisezoo.builder.launch import forecast as forecasts
from noisezoo.builder.launch.forecast import REPORT, Forecast, total_seconds
from noisezoo.builder.launch.machines import Machine
from noisezoo.commands import build as command
from noisezoo.commands.build import show_forecast
from noisezoo.commands.output import plain_console
from noisezoo.errors import UsageError
from tests.builder.building import digits_recipe
from tests.builder.committed import commit_units

MonkeyPatch, Capture = pytest.MonkeyPatch, pytest.CaptureFixture[str]
RECIPE = digits_recipe(("random-64", "pixels-8"), limit=300, slice_rows=32)


@pytest.fixture
def build(tmp_path: Path, monkeypatch: MonkeyPatch) -> Build:
    cpu = Machine("cpu", "a CPU of 50 GFLOP/s", 50.0, 50.0, 2e-3, 1, None)
    monkeypatch.setattr(forecasts, "this_machine", lambda **_: cpu)
    return prepare(RECIPE, tmp_path / "out")


def report(build: Build) -> dict[str, Any]:
    return dict(json.loads((build.state / REPORT).read_text()))


def test_a_run_is_compared_with_what_was_predicted_before_it(build: Build, capsys: Capture) -> None:
    forecast = Forecast.of(build, processes=1)
    assert report(build)["compared"] == [] and set(report(build)["predicted"]) == {"random-64", "pixels-8"}
    commit_units(build, build.all_units())
    finish(build)
    random, pixels, whole = forecast.compare()
    assert [each.images for each in (random, pixels, whole)] == [300, 300, 300]
    markers = [marker for unit in build.units(build.views[0]) if (marker := unit.marker())]
    assert random.seconds is not None and random.seconds[1] == pytest.approx(sum(m["seconds"] for m in markers))
    stored = sum(unit.part.stat().st_size + unit.marker_path.stat().st_size for unit in build.units(build.views[0]))
    assert random.bytes[1] == stored == pytest.approx(random.bytes[0], rel=0.3)
    files = [p for p in build.root.rglob("*") if p.is_file() and build.state not in p.parents]
    assert whole.bytes[1] == pytest.approx(sum(path.stat().st_size for path in files), rel=0.15)  # but for the record
    assert whole.seconds is None and report(build)["compared"][0]["what"] == "random-64"
    show_forecast(forecast, plain_console())
    predicted, actual = total_seconds((random, pixels, whole))
    assert f"({actual / predicted:.2f} times), on a CPU of 50 GFLOP/s" in " ".join(capsys.readouterr().out.split())


def test_a_resumed_run_is_compared_for_its_own_units_alone(build: Build, capsys: Capture) -> None:
    first, *others = build.units(build.views[0])
    commit_units(build, others)
    forecast = Forecast.of(build, processes=1)
    assert forecast.compare() == []
    show_forecast(forecast, plain_console())
    assert capsys.readouterr().out == ""
    commit_units(build, [first])
    (random,) = forecast.compare()
    assert random.images == len(first.rows)
    assert random.seconds is not None
    assert random.seconds[0] == pytest.approx(forecast.plan.views[0].seconds * len(first.rows) / 300)


def test_nothing_is_predicted_of_a_finished_build(build: Build) -> None:
    assert command.make_forecast(RECIPE, build.root, 1, plain_console()) is not None
    commit_units(build, build.all_units())
    finish(build)
    kept = report(build)
    assert command.make_forecast(RECIPE, build.root, 1, plain_console()) is None
    assert report(build) == kept


def test_nothing_is_predicted_on_a_gpu_that_is_not_known_and_it_is_said(
    build: Build, monkeypatch: MonkeyPatch, capsys: Capture
) -> None:
    def unknown(**_: object) -> Machine:
        raise UsageError("NVIDIA H20 is not in the table of GPUs")

    monkeypatch.setattr(forecasts, "this_machine", unknown)
    assert command.make_forecast(RECIPE, build.root, 1, plain_console()) is None
    assert "No time is predicted: NVIDIA H20 is not in the table" in capsys.readouterr().out
