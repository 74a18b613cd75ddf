"""What a recipe's dtype means on a device, and batch sizes that are chosen once for all processes of a build."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from noisezoo import zoo
from noisezoo.builder.__main__ import run
from noisezoo.builder.engine import worker as engine_worker
from noisezoo.builder.engine.build import Build, open_build, prepare
from noisezoo.builder.engine.log import failures
from noisezoo.builder.launch import local
from noisezoo.builder.launch.local import build_dataset
from noisezoo.builder.models import Encoder, Inverter, set_arithmetic
from noisezoo.builder.models.arithmetic import DTYPES, can_compile, check_arithmetic, network_device, network_dtype
from noisezoo.builder.models.footprint import stage_bytes
from noisezoo.builder.recipe import Settings, make_recipe
from noisezoo.builder.views.batches import SHARE, choose_arithmetic, choose_sizes
from noisezoo.builder.views.families import make_computer
from noisezoo.builder.views.networks import NoiseComputer
from noisezoo.errors import NoiseZooError, UsageError
from tests.builder.building import digits_recipe, published, recipe_of
from tests.builder.models import compiles
from tests.builder.test_noise_views import IDS, digits

CUDA = torch.device("cuda", 0)


@pytest.fixture
def switches() -> Iterator[None]:
    """torch's switches, as they were, put back."""
    from torch._inductor import config

    cudnn, names = torch.backends.cudnn, ("allow_tf32", "benchmark", "deterministic", "batch_invariant")
    owners = (cudnn, torch.backends.cuda.matmul, config)
    before = [(owner, name, getattr(owner, name)) for owner in owners for name in names if hasattr(owner, name)]
    yield
    for owner, name, value in before:
        setattr(owner, name, value)


def card(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], name: str = "Tesla T4") -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)


@pytest.mark.parametrize(("dtype", "tf32"), [("float32", False), ("tf32", True), ("float16", True), ("bfloat16", True)])
def test_tensorfloat_is_used_where_it_is_asked_for_or_the_network_is_coarser(
    switches: None, dtype: str, tf32: bool
) -> None:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = not tf32
    told = set_arithmetic(dtype)
    assert torch.backends.cudnn.allow_tf32 == torch.backends.cuda.matmul.allow_tf32 == told["tf32"] == tf32
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
    assert told["dtype"] == dtype


@compiles
def test_what_is_compiled_is_deterministic_and_independent_of_the_batch(switches: None) -> None:
    from torch._inductor import config

    assert set_arithmetic("float32", compiled=True)["inductor_deterministic"]
    assert config.deterministic and config.batch_invariant


def test_a_torch_without_the_switch_for_batches_compiles_all_the_same(
    switches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor import config

    older = SimpleNamespace(deterministic=False)  # as torch 2.11 on the GPU machine that was measured
    monkeypatch.setattr("torch._inductor.config", older)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert can_compile() and set_arithmetic("float16", compiled=True)["inductor_deterministic"]
    assert vars(older) == {"deterministic": True} and older is not config


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_arithmetic_has_a_dtype_of_torch(dtype: str) -> None:
    assert network_dtype(dtype) == (torch.float32 if dtype == "tf32" else getattr(torch, dtype))


def test_a_dtype_or_device_that_does_not_exist_is_refused_with_those_that_do() -> None:
    for dtype in ("fp16", "half", "float64", ""):
        with pytest.raises(UsageError, match="unknown dtype .*float32, tf32, float16, bfloat16"):
            network_dtype(dtype)
    for device in ("gpu", "cuda:x", "GPU:0"):
        with pytest.raises(UsageError, match="unknown device .*choose cpu, or cuda"):
            network_device(device)
    with pytest.raises(UsageError, match="field settings.dtype"):
        make_recipe({"name": "a", "source": {"name": "digits"}, "views": ["pixels-8"], "settings": {"dtype": "fp16"}})


def test_inverter_and_encoder_refuse_them_in_one_line() -> None:
    folders = {Inverter: zoo.get("digits-ddpm").folder, Encoder: zoo.get("faces-clip").folder}
    for kind, folder in folders.items():
        for wrong in ({"dtype": "fp16"}, {"device": "gpu"}):
            with pytest.raises(UsageError, match="unknown d") as caught:
                kind.from_pretrained(folder, **wrong)  # type: ignore[attr-defined]
            assert "\n" not in str(caught.value)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert network_device(None) == torch.device("cpu")
    with pytest.raises(UsageError, match="torch finds 0 GPUs here"):
        network_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "empty", lambda *_, device: device)
    assert network_device(None) == torch.device("cuda") and network_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UsageError, match="torch finds 2 GPUs here"):
        network_device("cuda:2")


def test_arithmetic_that_a_card_lacks_is_refused_with_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    card(monkeypatch, (7, 5))
    for dtype in ("bfloat16", "tf32"):
        with pytest.raises(UsageError, match=rf"{dtype} needs .*capability 8\.0 or newer, and Tesla T4 has 7\.5"):
            check_arithmetic(dtype, CUDA)
    for dtype in ("float16", "float32"):
        check_arithmetic(dtype, CUDA)
    card(monkeypatch, (9, 0), "NVIDIA H100")
    for dtype in DTYPES:
        check_arithmetic(dtype, CUDA)
    with pytest.raises(UsageError, match="tf32 is arithmetic of NVIDIA GPUs"):
        check_arithmetic("tf32", torch.device("cpu"))


def test_compiling_without_a_compiler_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    recipe = digits_recipe(("pixels-8", "digits-ddpm"), limit=8, settings={"compile": True})
    with pytest.raises(UsageError, match="compile needs a C\\+\\+ compiler, .* --set compile=false"):
        run(recipe, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.parquet"))[1:], "the manifest alone"
    assert run(digits_recipe(("pixels-8",), limit=8, settings={"compile": True}), tmp_path / "no-network")


def test_every_unit_of_a_network_records_its_arithmetic_and_others_none(tmp_path: Path) -> None:
    assert run(digits_recipe(("pixels-8", "digits-ddpm"), limit=8), tmp_path / "out")
    markers = {unit.view.name: unit.marker() or {} for unit in open_build(tmp_path / "out").all_units()}
    assert markers["digits-ddpm"]["arithmetic"]["dtype"] == "float32"
    assert markers["digits-ddpm"]["arithmetic"]["tf32"] is False
    assert markers["pixels-8"]["arithmetic"] == {}


@pytest.mark.parametrize(
    ("view", "dtype"),
    [("sd15", "float16"), ("flux-dev", "bfloat16"), ("flux-dev-vae", "bfloat16"), ("dinov3-vit-l16", "bfloat16"),
     ("faces-ddpm", "tf32")],
)  # fmt: skip
def test_a_recipe_without_a_dtype_gets_what_the_row_names_on_a_gpu_and_float32_on_a_cpu(view: str, dtype: str) -> None:
    row, choose = zoo.get(view), choose_arithmetic
    assert choose(row, Settings(), accelerated=False) == {"dtype": "float32", "compile": False}
    assert choose(row, Settings(), accelerated=True)["dtype"] == dtype
    own = Settings(dtype="float32", compile="reduce-overhead")
    assert choose(row, own, accelerated=True) == {"dtype": "float32", "compile": "reduce-overhead"}


def test_every_model_of_the_hub_names_its_half_precision() -> None:
    assert [row.name for row in zoo.rows() if row.repo and row.folder is None and row.half is None] == []


def test_a_card_that_lacks_the_arithmetic_of_a_row_gets_float32_and_what_a_recipe_names_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    card(monkeypatch, (7, 5))
    chosen = {v: choose_arithmetic(zoo.get(v), Settings(), accelerated=True, device=CUDA)["dtype"]
              for v in ("sd15", "flux-dev", "faces-ddpm")}  # fmt: skip
    assert chosen == {"sd15": "float16", "flux-dev": "float32", "faces-ddpm": "float32"}
    own = choose_arithmetic(zoo.get("flux-dev"), Settings(dtype="bfloat16"), accelerated=True, device=CUDA)
    with pytest.raises(UsageError, match="bfloat16 needs"):
        check_arithmetic(own["dtype"], CUDA)


@compiles
@pytest.mark.parametrize(
    ("view", "images", "settings", "pays"),
    [("sd15", 30_000, {}, True), ("sd15", 1_000, {}, False), ("sd15", 30_000, {"accuracy": "ddim-50"}, False),
     ("sdxl", 5_000, {}, True), ("sd-vae", 10**6, {}, False), ("clip-vit-l14", 30_000, {}, False)],
)  # fmt: skip
def test_compiling_is_chosen_where_the_passes_take_an_h100_half_an_hour(
    view: str, images: int, settings: dict[str, Any], pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Settings(**settings)
    assert choose_arithmetic(zoo.get(view), made, accelerated=True, images=images)["compile"] is pays
    assert not choose_arithmetic(zoo.get(view), made, accelerated=False, images=images)["compile"]
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert not choose_arithmetic(zoo.get(view), made, accelerated=True, images=images)["compile"], "no compiler"


def test_arithmetic_is_chosen_by_the_first_process_and_used_by_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, view = prepare(recipe_of("digits", ("digits-ddpm",), 8), tmp_path / "a"), zoo.get("digits-ddpm")
    assert engine_worker.settings_for(build, view, torch.device("cpu")).dtype == "float32"
    assert build.arithmetic(view) == {}
    card(monkeypatch, (9, 0), "NVIDIA H100")
    first = engine_worker.settings_for(build, view, CUDA)
    card(monkeypatch, (7, 5))
    assert (first.dtype, first.compile) == ("tf32", False)
    assert engine_worker.settings_for(build, view, CUDA) == first
    assert build.arithmetic(view) == {"dtype": "tf32", "compile": False}


GIGABYTE = 1e9
SD15 = zoo.get("sd15")


@pytest.mark.parametrize("memory", [8, 16, 40, 80, 141])
def test_batches_fit_the_memory_and_would_not_twice_as_large(memory: float) -> None:
    settings, weights = Settings(batch_size=256, dtype="float16"), 2.6 * GIGABYTE
    sizes = choose_sizes(SD15, settings, slice_rows=64, memory=memory * GIGABYTE, weights=weights)
    room = SHARE * memory * GIGABYTE - weights
    for stage in ("encode", "network"):
        assert stage_bytes(SD15, settings, sizes[stage])[stage] <= room
        doubled = min(2 * sizes[stage], settings.batch_size + 1)
        assert doubled > settings.batch_size or stage_bytes(SD15, settings, doubled)[stage] > room


def test_a_batch_is_never_larger_than_the_recipe_s_and_never_less_than_one() -> None:
    roomy = choose_sizes(SD15, Settings(batch_size=6), slice_rows=64, memory=1e15, weights=0)
    assert roomy["encode"] == roomy["network"] == 6
    tight = choose_sizes(SD15, Settings(batch_size=6), slice_rows=64, memory=1.0, weights=2e9)
    assert set(tight.values()) == {1}


@pytest.mark.parametrize(("share", "size"), [(0.0, 1), (0.02, 1), (0.03, 2), (0.1, 8), (1.0, 32)])
def test_regenerated_rows_get_a_batch_of_about_as_many_as_a_slice_has(share: float, size: int) -> None:
    settings = Settings(batch_size=32, reconstruct=share)
    assert choose_sizes(SD15, settings, slice_rows=64, memory=1e15, weights=0)["reconstruct"] == size


def shapes_of(made: NoiseComputer) -> set[int]:
    """Batch sizes that the network has seen, filled in as it works."""
    seen: set[int] = set()
    made.pipeline.denoiser.register_forward_pre_hook(lambda _, arguments: seen.add(len(arguments[0])))
    return seen


def test_on_an_accelerator_a_network_sees_one_shape_and_refusals_change_no_other_row() -> None:
    rows = []
    for images in (digits(), [*digits()[:1], OSError("torn"), *digits()[2:]]):
        made = make_computer(zoo.get("digits-ddpm"), Settings(num_inference_steps=2, batch_size=4, reconstruct=1.0))
        assert isinstance(made, NoiseComputer)
        made.load()
        made.stages.filled = True
        made.stages.sizes |= {"encode": 4, "network": 4, "reconstruct": 4, "metrics": 1}
        seen = shapes_of(made)
        kept, found, refusals = made.rows(IDS, images)
        assert len(kept) + len(refusals) == len(IDS)
        assert seen == {4}
        rows.append(dict(zip(kept, zip(found["digits-ddpm"], found["reconstruction_psnr"], strict=True), strict=True)))
    whole, holed = rows
    assert holed.keys() == whole.keys() - {IDS[1]}
    for image_id, (noise, psnr) in holed.items():
        assert np.array_equal(noise, whole[image_id][0]) and psnr == whole[image_id][1]


def test_sizes_are_chosen_by_the_first_process_and_used_by_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of("digits", ("digits-ddpm",), 8)
    first, second = (prepare(recipe, tmp_path / name) for name in "ab")
    computer = make_computer(zoo.get("digits-ddpm"), recipe.settings)

    def sizes(build: Build, memory: float) -> dict[str, int]:
        monkeypatch.setattr(engine_worker, "device_memory", lambda _: memory)
        return engine_worker.batch_sizes(build, computer)

    small, large = sizes(first, 3e6), sizes(second, 80 * GIGABYTE)
    assert small["network"] < large["network"] == 4
    assert sizes(first, 80 * GIGABYTE) == small and sizes(second, 3e6) == large
    assert json.loads((first.state / "batches" / "digits-ddpm.json").read_text()) == small
    monkeypatch.undo()
    assert engine_worker.batch_sizes(first, computer) == {}, "on a CPU the recipe's batch size holds"


def test_a_build_uses_the_sizes_that_it_chose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_worker, "device_memory", lambda _: 3e6)
    assert run(recipe_of("digits", ("digits-ddpm",), 8), tmp_path / "out")
    for unit in open_build(tmp_path / "out").all_units():
        assert (unit.marker() or {})["batch_size"]["network"] == 1


def test_a_shortage_is_told_with_its_unit_in_log_marker_and_on_the_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from noisezoo.builder.views.controls import PixelComputer

    original = PixelComputer.compute

    def cramped(self: PixelComputer, values: np.ndarray, batch: Any) -> Any:
        if len(values) > 2:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        return original(self, values, batch)

    monkeypatch.setattr(PixelComputer, "compute", cramped)
    monkeypatch.setattr(local, "_run", lambda builds, *_: int(not run(builds[0].recipe, builds[0].root)))
    recipe = digits_recipe(("pixels-8",), limit=16)
    build_dataset(recipe, tmp_path / "noisezoo")
    told = failures(open_build(tmp_path / "noisezoo").state / "logs", since=0, event="shortage")
    screen = capsys.readouterr().err
    assert told, "whichever slice comes first does not fit"
    for message in told:
        assert re.match(
            r"rows of pixels-8 slice \d were computed at batch [12] instead of [34] \(network: CUDA", message
        )
        assert message in screen
    markers = [unit.marker() or {} for unit in open_build(tmp_path / "noisezoo").all_units()]
    assert sum(len(marker["shortages"]) for marker in markers) == len(told)
    monkeypatch.setattr(PixelComputer, "compute", original)
    assert run(recipe, tmp_path / "b" / "noisezoo") and published(tmp_path / "b" / "noisezoo") == published(
        tmp_path / "noisezoo"
    )


def test_a_model_that_does_not_fit_is_one_line_that_names_view_and_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(_: NoiseComputer) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB\nand more")

    monkeypatch.setattr(NoiseComputer, "load", load)
    with pytest.raises(NoiseZooError, match="^view digits-ddpm: its model does not fit into the memory of cpu"):
        run(digits_recipe(("digits-ddpm",), limit=8), tmp_path / "out")
