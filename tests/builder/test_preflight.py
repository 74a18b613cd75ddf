"""What may not work on a build is told why, before it has done anything."""

import json
import os
import re
from pathlib import Path

import pytest
import torch
import yaml

from noisezoo.builder.__main__ import main, run
from noisezoo.builder.dataset.finish import is_finished
from noisezoo.builder.engine import admission as preflight
from noisezoo.builder.engine.admission import FORMAT, Place, admit, identity, opened, take_place
from noisezoo.builder.engine.build import open_build
from noisezoo.builder.engine.log import failures
from noisezoo.builder.launch.local import build_dataset
from noisezoo.errors import UsageError
from noisezoo.files import read_json, write_json
from tests.builder.building import digits_recipe

RECIPE = digits_recipe(("random-64", "pixels-8"), limit=16)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Places are taken from the environment, and change it."""
    for name in (*preflight.JOINING, "LOCAL_WORLD_SIZE", "ACCELERATE_TORCH_DEVICE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def launched(monkeypatch: pytest.MonkeyPatch, **numbers: object) -> None:
    for name, value in numbers.items():
        monkeypatch.setenv(name, str(value))


def with_software(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    """This process's versions, with some changed."""
    here = preflight.software()
    monkeypatch.setattr(preflight, "software", lambda: {**here, **versions})


def test_a_process_without_a_launcher_is_alone() -> None:
    assert take_place() == Place(0, 1, 0, 1)


def test_a_process_takes_its_place_and_would_meet_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    launched(monkeypatch, RANK=5, WORLD_SIZE=8, LOCAL_RANK=1, LOCAL_WORLD_SIZE=4, PMI_SIZE=8)
    launched(monkeypatch, MASTER_ADDR="127.0.0.1", MASTER_PORT=1)  # where nobody listens
    assert take_place() == Place(5, 8, 1, 4)
    assert os.environ["LOCAL_WORLD_SIZE"] == "4"  # which shares the cores
    from accelerate import PartialState

    PartialState._reset_state()
    assert PartialState().num_processes == 1
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    "numbers",
    [
        {"RANK": 4, "WORLD_SIZE": 4},
        {"RANK": -1, "WORLD_SIZE": 4},
        {"RANK": 1, "WORLD_SIZE": 4, "LOCAL_RANK": 2, "LOCAL_WORLD_SIZE": 2},
        {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 4},
        {"RANK": 3},
    ],
)
def test_numbers_that_contradict_each_other_are_refused(
    monkeypatch: pytest.MonkeyPatch, numbers: dict[str, int]
) -> None:
    launched(monkeypatch, **numbers)
    with pytest.raises(UsageError, match=f"contradict each other: RANK={numbers['RANK']},"):
        take_place()


def test_a_world_size_that_is_no_number_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    launched(monkeypatch, WORLD_SIZE="two")
    with pytest.raises(UsageError, match="WORLD_SIZE=two is not an integer"):
        take_place()


def test_more_processes_than_gpus_on_a_node_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    launched(monkeypatch, RANK=0, WORLD_SIZE=8, LOCAL_RANK=0, LOCAL_WORLD_SIZE=8)
    with pytest.raises(UsageError, match="8 processes on .* shows 4 GPUs: launch 4"):
        take_place()


def test_each_process_of_a_node_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    launched(monkeypatch, RANK=6, WORLD_SIZE=8, LOCAL_RANK=2, LOCAL_WORLD_SIZE=4)
    take_place()
    from accelerate import PartialState

    PartialState._reset_state()
    try:
        assert (taken, os.environ["ACCELERATE_TORCH_DEVICE"]) == ([2], "cuda:2")
    finally:
        PartialState._reset_state()


def test_other_versions_are_refused_each_by_name_and_nothing_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = opened(RECIPE, tmp_path / "out")
    admit(build)
    torch_here = preflight.software()["torch"]
    with_software(monkeypatch, torch="1.0.0", pillow="2.0")
    for work in (lambda: run(RECIPE, tmp_path / "out"), lambda: build_dataset(RECIPE, tmp_path / "out")):
        with pytest.raises(UsageError, match=rf"pillow .* there and 2\.0 here, torch {torch_here} there and 1\.0\.0"):
            work()
    assert not (build.state / "parts").exists()


def test_a_finished_dataset_may_be_looked_at_by_other_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(RECIPE, tmp_path / "out")
    with_software(monkeypatch, torch="1.0.0")
    assert run(RECIPE, tmp_path / "out")
    more = digits_recipe(("random-64", "pixels-8", "pixels-8-whitened"), limit=16)
    with pytest.raises(UsageError, match="torch"):
        run(more, tmp_path / "out")


def test_who_gives_up_equal_bytes_says_so_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    admit(opened(RECIPE, tmp_path / "out"))
    with_software(monkeypatch, torch="1.0.0")
    admit(opened(RECIPE, tmp_path / "out"), mixed=True)
    monkeypatch.setattr(preflight, "device_name", lambda: "NVIDIA A100")
    assert run(RECIPE, tmp_path / "out")


def test_another_kind_of_device_is_refused_and_both_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = opened(RECIPE, tmp_path / "out")
    write_json(build.state / "device.json", {"device": "NVIDIA A100", "host": "node7"})
    monkeypatch.setattr(preflight, "device_name", lambda: "NVIDIA H100")
    words = r"built on NVIDIA A100 \(host node7\), and .* has NVIDIA H100"
    with pytest.raises(UsageError, match=words):
        run(RECIPE, tmp_path / "out")
    assert not (build.state / "parts").exists()
    assert re.search(words, failures(build.state / "logs", since=0)[0]), "the launcher tells it to the user"


def test_a_newer_version_s_folder_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    out = tmp_path / "out"
    build = opened(RECIPE, out)
    admit(build)
    begun = read_json(build.state / "begun.json")
    assert begun is not None
    newer = {**begun, "format": FORMAT + 1, "software": {**begun["software"], "noisezoo": "9.9.0"}}
    write_json(build.state / "begun.json", newer)
    (build.state / "recipe.json").write_text('{"of": "the future"}')
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=rf"noisezoo 9\.9\.0, format {FORMAT + 1}; this is .* format {FORMAT}"):
        run(RECIPE, out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_node_that_does_not_see_the_folder_is_refused_at_once_and_makes_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build = opened(RECIPE, tmp_path / "shared")
    expected = identity(build)
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(RECIPE.model_dump(mode="json")))
    for host in ("elsewhere", "another build"):
        if host == "another build":
            identity(opened(RECIPE, tmp_path / host))
        with pytest.raises(SystemExit) as stop:
            main([str(tmp_path / "r.yaml")], [tmp_path / host], expected)
        assert stop.value.code == 2
        assert f"where build {expected} was prepared" in capsys.readouterr().err
    assert not (tmp_path / "elsewhere").exists()
    assert run(RECIPE, tmp_path / "shared", expected)
    assert is_finished(open_build(tmp_path / "shared"))


def test_of_processes_that_come_at_once_one_decides(tmp_path: Path) -> None:
    import multiprocessing

    build = opened(RECIPE, tmp_path / "out")
    context = multiprocessing.get_context("fork")
    with context.Pool(4) as pool:
        seen = pool.map(identity, [build] * 8)
    assert len(set(seen)) == 1
    assert json.loads((build.state / "begun.json").read_text())["id"] == seen[0]
    assert not list(build.state.glob(".begun*"))
