"""Plans: the work they count is the work that is done, the hours are the design's, and doubts are told."""

import json
import weakref
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from noisezoo import cli, zoo
from noisezoo.builder.launch import machines
from noisezoo.builder.launch.machines import BATCH, CHANNELS, DEPTH, SIDE, Machine, calibrate, machine, names
from noisezoo.builder.launch.plan import LIBRARY_BYTES, UNIT_LEAST, UNIT_MOST, Plan, passes, plan as make_plan
from noisezoo.builder.models import files as hub
from noisezoo.builder.models.footprint import activations, footprint, is_guided, stage_bytes
from noisezoo.builder.recipe import Recipe, Settings, make_recipe, read_recipe
from noisezoo.builder.views.quality import ssim
from noisezoo.costs import DECODE
from noisezoo.errors import NoiseZooError, UsageError

MonkeyPatch, Capture = pytest.MonkeyPatch, pytest.CaptureFixture[str]
HALF = {"dtype": "bfloat16", "reconstruct": 0.0, "batch_size": 32}
UNIT = Machine("unit", "a device of one GFLOP a second", 1.0, 1.0, 0.0, 10**9, 1e12)
"""On it seconds are GFLOP, but for commits."""


def plan_of(views: list[str], images: int = 30_000, device: Machine | str = "h100", **settings: Any) -> Plan:
    steps = {} if "accuracy" in settings else {"scheme": "ddim", "num_inference_steps": 50, "span": None}
    recipe = read_recipe("faces", {"views": views, "settings": {**HALF, **steps, **settings}})
    found = device if isinstance(device, Machine) else machine(device, dtype=recipe.settings.dtype)
    return make_plan(recipe, images, found)


@pytest.mark.parametrize(
    ("scheme", "options", "inverted", "generated"),
    [("ddim", {}, 50, 50), ("ddim-source", {}, 49, 49),
     ("ddim-fixed-point", {}, 250, 50), ("ddim-fixed-point", {"iterations": 3}, 150, 50),
     ("euler", {}, 50, 50), ("heun", {}, 100, 100), ("midpoint", {}, 100, 100), ("ab2", {}, 51, 51),
     ("fireflow", {}, 51, 51), ("forward-start", {"share": 0.1}, 45, 50), ("bdia", {}, 51, 49), ("belm", {}, 51, 49),
     ("gnri", {}, 200, 50), ("gnri", {"iterations": 3}, 350, 50)],
)  # fmt: skip
def test_passes_are_those_that_the_schemes_papers_give(
    scheme: str, options: dict[str, Any], inverted: int, generated: int
) -> None:
    assert passes(Settings(scheme=scheme, scheme_options=options)) == (inverted, generated)


def test_the_accuracy_table_counted_the_same_passes() -> None:
    from benchmarks.bench_accuracy import table

    ways = {(row.scheme, row.num_inference_steps, row.forwards) for row in table() if row.span == 20}
    assert len(ways) > 20
    for scheme, steps, forwards in ways:
        assert passes(Settings(scheme=scheme, num_inference_steps=steps))[0] == forwards, scheme


PROMPT = {"prompt": "a face"}


@pytest.mark.parametrize(
    ("view", "settings", "guided"),
    [("sd15", {}, False), ("sd15", PROMPT, True), ("sd15", {**PROMPT, "guidance_scale": 1.0}, False),
     ("sd15", {"negative_prompt": ""}, False), ("sd15", {"negative_prompt": "blur"}, True),
     ("sd15", {"prompt_column": "caption"}, True), ("sdxl", {}, True), ("sdxl", {"negative_prompt": ""}, False),
     ("lcm", PROMPT, False), ("flux-dev", PROMPT, False), ("ddpm-celebahq-256", PROMPT, False),
     ("dit-xl-2-256", {}, False), ("faces-ddpm", PROMPT, False), ("faces-ldm", PROMPT, True), ("faces-ldm", {}, False)],
)  # fmt: skip
def test_guidance_doubles_the_passes_exactly_where_it_can_matter(
    view: str, settings: dict[str, Any], guided: bool
) -> None:
    model = footprint(zoo.get(view))
    assert model is not None and is_guided(model.guidance, Settings(**settings)) is guided
    (planned,) = plan_of([view], 100, **settings).views
    assert planned.cost.forwards == 100 * 50 * (2 if guided else 1)


@pytest.mark.parametrize(
    ("view", "hours"),
    [("sd21", 2.3), ("sdxl", 7.1), ("sd3-medium", 9.4), ("flux-dev", 78.0), ("ddpm-celebahq-256", 0.52)],
)  # fmt: skip
def test_hours_on_an_h100_are_those_of_the_design(view: str, hours: float) -> None:
    plan = plan_of([view], negative_prompt="")
    assert plan.device_seconds / 3600 == pytest.approx(hours, rel=0.08)


def test_seconds_are_the_work_over_the_pace() -> None:
    sd15 = zoo.get("sd15")
    (whole,) = plan_of(["sd15"], 1000, UNIT, reconstruct=0.02).views
    invert, regenerate = 50 * 803 + 1117, 0.02 * (50 * 803 + DECODE * 1117)
    commits = whole.seconds - 1000 * (invert + regenerate)
    assert 0 < commits < 1 and sd15.gflops == 803


def test_an_autoencoder_s_work_is_paid_once_by_the_views_that_share_it() -> None:
    together = plan_of(["sd15", "sd15-untrained", "sd-vae"], 1000, UNIT).device_seconds
    alone = sum(plan_of([view], 1000, UNIT).device_seconds for view in ("sd15", "sd15-untrained", "sd-vae"))
    assert alone - together == pytest.approx(2 * 1000 * 1117, rel=1e-3)


def test_every_model_on_the_hub_has_a_size_and_half_or_full_precision_of_it_is_fetched() -> None:
    rows = [row for row in zoo.rows() if row.repo and row.folder is None]
    assert len(rows) > 40
    for row in rows:
        model = footprint(row)
        assert model is not None, row.repo
        width = model.download / (model.network + model.text + model.autoencoder)
        assert min(abs(width - 2), abs(width - 4)) < 0.35, (row.repo, width)


@pytest.mark.parametrize("view", ["faces-ldm", "digits-ddpm", "faces-clip"])
def test_a_folder_s_parameters_are_those_of_its_weights(view: str) -> None:
    from safetensors.numpy import load_file

    folder = zoo.get(view).folder
    assert folder is not None
    counted = sum(prod(x.shape) for path in folder.rglob("*.safetensors") for x in load_file(path).values())
    model = footprint(zoo.get(view))
    assert model is not None and model.download == 0
    assert model.network + model.text + model.autoencoder == counted


def test_a_local_folder_is_planned_as_the_model_that_it_stands_for(tmp_path: Path) -> None:
    row = zoo.get("faces-ldm")
    fields = {"views": ["sd15"], "folders": {"sd15": str(row.folder)}, "settings": {**HALF, **PROMPT}}
    plan = make_plan(read_recipe("faces", fields), 1000, UNIT)
    model = footprint(row)
    assert model is not None and plan.downloads == {}
    assert plan.views[0].weights == model.weights(row, "bfloat16") and plan.views[0].guided


def test_a_model_of_which_nothing_is_known_is_said_to_be_so(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "ROWS", dict(zoo.ROWS))
    row = zoo.View("unheard-of", "noise", "diffusers", "me/mine", 64, (4, 8, 8), "MIT", 1.5, "a test's")
    recipe = make_recipe({"name": "t", "source": {"name": "faces"}, "rows": [vars(row)], "views": ["unheard-of"]})
    plan = make_plan(recipe, 100, UNIT)
    assert plan.downloads == {"me/mine": None} and plan.views[0].weights is None


def test_text_towers_are_held_only_for_images_that_bring_prompts_and_an_autoencoder_is_fetched_alone() -> None:
    own, each = plan_of(["pixart"]), plan_of(["pixart"], prompt_column="caption")
    towers = 4762e6 * 2
    assert own.views[0].weights == pytest.approx((611 * 2 + 84 * 4) * 1e6)
    assert own.views[0].towers == each.views[0].weights - own.views[0].weights == towers  # type: ignore[operator]
    held = own.views[0].weights + max(own.views[0].activations, towers)  # type: ignore[operator]
    assert own.device_memory == held + LIBRARY_BYTES
    held = each.views[0].weights + each.views[0].activations  # type: ignore[operator]
    assert each.device_memory == held + LIBRARY_BYTES
    whole, alone = (plan_of(views).downloads["stable-diffusion-v1-5/stable-diffusion-v1-5"] for views in
                    (["sd15", "sd-vae"], ["sd-vae"]))  # fmt: skip
    assert alone == pytest.approx(84 / (860 + 123 + 84) * whole)  # type: ignore[operator]


def test_memory_is_weights_in_their_dtype_and_a_batch_and_tiling_bounds_it() -> None:
    sdxl = zoo.get("sdxl")
    model = footprint(sdxl)
    assert model is not None
    assert model.weights(sdxl, "float32") + model.towers(sdxl, "float32") == pytest.approx(13.9e9, rel=0.02)
    half = model.weights(sdxl, "bfloat16") + model.towers(sdxl, "bfloat16")
    assert half == pytest.approx(13.9e9 / 2 + 84e6 * 2, rel=0.02)
    plain, tiled = Settings(), Settings(vae_tiling=True, vae_slicing=True)
    assert activations(sdxl, plain, 16) == 16 * activations(sdxl, plain, 1)
    assert activations(sdxl, tiled, 16) < activations(sdxl, plain, 16)


@pytest.mark.parametrize(
    ("view", "measured"),
    [("sd15", 2.12), ("sdxl", 6.42), ("dit-xl-2-256", 1.57), ("ddpm-celebahq-256", 0.83), ("ldm-celebahq-256", 0.68)],
)
def test_no_network_measured_on_an_h200_held_more_than_is_planned(view: str, measured: float) -> None:
    """GiB that torch held for the network alone, in bfloat16, with two images."""
    row = zoo.get(view)
    network = 2 * 1e6 * row.millions[0] + stage_bytes(row, Settings(dtype="bfloat16"), 2)["network"]
    assert network < measured * 2**30 <= network + LIBRARY_BYTES


class Live(TorchDispatchMode):
    """Counts the bytes of all tensors that live at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(output):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in self.known:
                storage = tensor.untyped_storage()
                self.known.add(storage._cdata)
                self.live += storage.nbytes()
                self.peak = max(self.peak, self.live)
                weakref.finalize(storage, self.let_go, storage._cdata, storage.nbytes())
        return output

    def let_go(self, storage: int, size: int) -> None:
        self.known.discard(storage)
        self.live -= size


def test_what_a_pixel_network_holds_is_what_a_network_of_its_size_holds() -> None:
    """google/ddpm-celebahq-256's own configuration, without data, one picture in float32."""
    with torch.device("meta"):
        network = diffusers.UNet2DModel(
            sample_size=256, layers_per_block=2, block_out_channels=(128, 128, 256, 256, 512, 512),
            down_block_types=(*("DownBlock2D",) * 4, "AttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "AttnUpBlock2D", *("UpBlock2D",) * 4), downsample_padding=0,
        ).eval()  # fmt: skip
        row, picture, time = zoo.get("ddpm-celebahq-256"), torch.zeros(1, 3, 256, 256), torch.zeros(1)
        with torch.no_grad(), Live() as counted:
            network(picture, time)
    assert row.millions[0] == pytest.approx(sum(p.numel() for p in network.parameters()) / 1e6, abs=0.5)
    assert activations(row, Settings(), 1) == pytest.approx(counted.peak, rel=0.15)


def test_comparing_regenerated_pictures_holds_less_than_their_network_did() -> None:
    pictures = torch.zeros(2, 3, 64, 64)
    with torch.no_grad(), Live() as counted:
        ssim(pictures, pictures)
    pixel = counted.peak / (2 * 64**2)
    rows = [row for row in zoo.ROWS.values() if row.family == "diffusers" and footprint(row) is not None]
    assert len(rows) > 10 and all(activations(row, Settings(), 1) > pixel * row.resolution**2 for row in rows)


def test_comparing_regenerated_pictures_takes_its_time_on_a_gpu_too(monkeypatch: MonkeyPatch) -> None:
    half, none = (plan_of(["faces-ddpm"], 1000, reconstruct=share) for share in (0.5, 0.0))
    monkeypatch.setattr(machines, "GPU_METRIC_SECONDS", 1.0)
    longer = plan_of(["faces-ddpm"], 1000, reconstruct=0.5)
    assert longer.device_seconds - half.device_seconds == pytest.approx(500 * 32**2)
    assert plan_of(["faces-ddpm"], 1000).device_seconds == none.device_seconds


def test_the_parameters_of_dit_are_those_of_its_class() -> None:
    with torch.device("meta"):
        network = diffusers.DiTTransformer2DModel(
            num_attention_heads=16, attention_head_dim=72, in_channels=4, out_channels=8, num_layers=28, sample_size=32,
            num_embeds_ada_norm=1000,
        )  # fmt: skip
    count = sum(p.numel() for p in network.parameters()) / 1e6
    assert zoo.get("dit-xl-2-256").millions[0] == pytest.approx(count, abs=0.5)


@pytest.mark.parametrize("hours", [100.0, 10.0, 2.0])
def test_the_suggested_processes_are_the_fewest_that_meet_the_deadline(hours: float) -> None:
    plan = plan_of(["sd15", "sdxl", "clip-vit-l14"], 202_599)
    count = plan.processes_for(hours)
    assert plan.seconds(count) <= hours * 3600 < plan.seconds(count - 1)


def test_one_process_is_enough_where_it_is_and_none_where_a_start_alone_takes_longer() -> None:
    plan = plan_of(["clip-vit-l14"], 1000)
    assert plan.processes_for(1) == 1
    with pytest.raises(UsageError, match="no number of processes builds this in 0.001 hours: starting takes"):
        plan.processes_for(0.001)


@pytest.mark.parametrize("view", ["sd15", "sdxl", "flux-dev", "clip-vit-l14"])
def test_the_suggested_slices_take_between_one_and_ten_minutes(view: str) -> None:
    plan = plan_of([view], 10**6)
    recipe = Recipe.model_validate({**plan.recipe.model_dump(), "slice_rows": plan.slice_rows(8), "shard_rows": 10**6})
    again = make_plan(recipe, 10**6, plan.machine)
    limit = {"clip-vit-l14": 1.0}.get(view, UNIT_LEAST)  # shards of 8,192 rows bound the slices of quick views
    assert limit <= again.views[0].unit_seconds <= UNIT_MOST


def test_a_small_build_keeps_enough_slices_for_its_processes() -> None:
    plan = plan_of(["sd15"], 1000)
    assert 1000 / plan.slice_rows(8) >= 8


def test_units_round_up_and_no_image_is_no_plan() -> None:
    assert plan_of(["pixels", "random"], 33).units == 4
    with pytest.raises(UsageError, match="0 images"):
        plan_of(["pixels"], 0)


def test_the_devices_are_in_order_of_their_speed_and_an_unknown_one_is_refused() -> None:
    speeds = {
        name: machine(name, dtype="bfloat16").network
        for name in names()
        if name not in (machines.CPU, machines.HERE, "t4", "v100")
    }
    assert speeds["b200"] > speeds["h100"] > speeds["l40s"] > speeds["a100"] > speeds["rtx4090"] > speeds["l4"]
    assert machine("h100", dtype="bfloat16").network == pytest.approx(0.4 * 989e3)
    assert machine("h100", dtype="float32").network < machine("h100", dtype="float16").network / 5
    with pytest.raises(UsageError, match="unknown device 'h1000'; choose one of: b300, b200"):
        machine("h1000")


def test_a_cpu_s_pace_is_the_measured_work_over_the_measured_time(monkeypatch: MonkeyPatch) -> None:
    ticks = iter(i * 0.25 for i in range(10**6))
    monkeypatch.setattr(machines.time, "perf_counter", lambda: next(ticks))
    work = BATCH * DEPTH * 2 * 9 * CHANNELS**2 * SIDE**2 / 1e9
    assert calibrate().network == pytest.approx(work / 0.25)


def test_calibrating_leaves_the_number_of_threads_as_it_was(monkeypatch: MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(machines, "REPEATS", 1)
    before = torch.get_num_threads()
    found = calibrate(threads=before + 1)
    assert torch.get_num_threads() == before and found.is_cpu and found.network > 0.1


def shown(monkeypatch: MonkeyPatch, capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["noisezoo", "plan", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0), *capsys.readouterr()


def in_the_cache(repo: str, *_: Any, cached: bool = False) -> Path:
    """Stands for a download where nothing is in the cache."""
    if not cached:
        pytest.fail("downloads")
    raise NoiseZooError(f"{repo} is not in the cache")


def test_planning_asks_nothing_of_the_hub_and_its_json_has_the_keys_that_its_help_promises(
    monkeypatch: MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(hub, "_download", in_the_cache)
    monkeypatch.setattr(hub, "_head", lambda *_: pytest.fail("asks the Hub"))
    arguments = ["faces", "--views", "sd15,clip-vit-l14", "--images", "30000", "--deadline", "2"]
    code, out, _ = shown(monkeypatch, capsys, *arguments, "--set", "dtype=bfloat16", "--json")
    found = json.loads(out)
    assert (code, found["images"], found["units"], found["device"]) == (0, 30_000, 2 * 938, "h100")
    assert found["download_bytes"].keys() == {row.repo for row in map(zoo.get, ("sd15", "clip-vit-l14"))}
    assert found["processes"] == found["suggested_processes"]
    monkeypatch.setenv("COLUMNS", "200")
    promised = " ".join(shown(monkeypatch, capsys, "--help")[1].split())
    assert [key for key in found if key not in promised] == []


def test_the_plan_is_told_in_words_with_its_doubts(monkeypatch: MonkeyPatch, capsys: Capture) -> None:
    steps = ("--set", "scheme=ddim", "--set", "num_inference_steps=50", "--set", "span=null")
    images = ("--images", "202599", "--deadline", "24", "--set", "dtype=float32", *steps)
    _, out, _ = shown(monkeypatch, capsys, "faces", "--views", "sdxl", *images)
    text = " ".join(out.split())
    for words in (
        "202,599 images in 1 view", "24 hours need", "13.9 GB to download", "within a factor of two; it has 80 GB",
        "more memory than the device has", "40% of the maker's peak", "--set dtype=bfloat16", "slice_rows: ",
    ):  # fmt: skip
        assert words in text, words


def test_without_images_the_recipe_s_limit_is_planned(monkeypatch: MonkeyPatch, capsys: Capture) -> None:
    limit = read_recipe("faces").source.limit
    assert json.loads(shown(monkeypatch, capsys, "faces", "--json")[1])["images"] == limit
    assert json.loads(shown(monkeypatch, capsys, "faces", "--source", "celeba", "--json")[1])["images"] == 202_599
    code, _, err = shown(monkeypatch, capsys, "faces", "--source", "hf:me/own")
    assert code == 2 and "--images" in err


GPUS = {
    "NVIDIA H100 80GB HBM3": "h100", "NVIDIA H100 PCIe": "h100-pcie", "NVIDIA H100 NVL": "h100-nvl",
    "NVIDIA GH200 480GB": "gh200", "NVIDIA H200": "h200", "NVIDIA H200 NVL": "h200-nvl", "NVIDIA B200": "b200",
    "NVIDIA B300 SXM6 AC": "b300", "NVIDIA A100-SXM4-80GB": "a100", "NVIDIA A100 80GB PCIe": "a100",
    "NVIDIA A100-SXM4-40GB": "a100-40gb", "NVIDIA A100-PCIE-40GB": "a100-40gb", "NVIDIA A10": "a10",
    "NVIDIA A10G": "a10g", "NVIDIA A40": "a40", "NVIDIA L4": "l4", "NVIDIA L40": "l40", "NVIDIA L40S": "l40s",
    "NVIDIA RTX A6000": "a6000", "NVIDIA RTX 6000 Ada Generation": "rtx6000-ada", "NVIDIA GeForce RTX 5090": "rtx5090",
    "NVIDIA GeForce RTX 4090": "rtx4090", "AMD Instinct MI300X": "mi300x", "Tesla T4": "t4",
    "Tesla V100-SXM2-32GB": "v100", "NVIDIA H20": None, "Quadro RTX 6000": None,
    "NVIDIA A100-SXM4-40GB MIG 1g.5gb": None, "NVIDIA GeForce RTX 4090 Laptop GPU": None,
}  # fmt: skip


@pytest.mark.parametrize(("device", "name"), GPUS.items())
def test_a_device_is_found_by_the_row_that_most_of_its_words_name(device: str, name: str | None) -> None:
    assert machines.nearest(device) == name


def on_hand(monkeypatch: MonkeyPatch, device: str, memory: int) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: device)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=memory))


def test_the_device_on_hand_has_its_own_memory_and_the_table_s_speed(monkeypatch: MonkeyPatch) -> None:
    on_hand(monkeypatch, "NVIDIA GH200 144G HBM3e", 144 * 2**30)
    found = machine("here", dtype="float16")
    assert (found.about, found.memory) == ("NVIDIA GH200 144G HBM3e", 144 * 2**30)
    assert found.network == machine("gh200", dtype="float16").network


def test_a_gpu_that_is_not_in_the_table_is_said_to_be_unknown(monkeypatch: MonkeyPatch) -> None:
    on_hand(monkeypatch, "NVIDIA H20", 96 * 2**30)
    with pytest.raises(UsageError, match="NVIDIA H20 is not in the table of GPUs"):
        machine("here")


def test_bfloat16_is_refused_where_the_device_has_none() -> None:
    with pytest.raises(UsageError, match="T4 does not compute in bfloat16"):
        plan_of(["pixels"], 10, "t4")
