"""The jobs of `gpu.py`: each runs in a process of its own and sends what it measures, row by row."""

import gc
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import diffusers
import torch
from torch import Tensor

from benchmarks.gpu_models import (
    AUTOENCODER,
    AUTOENCODER_CUTS,
    SD15,
    SEED,
    STABLE_DIFFUSION,
    UNET_CUTS,
    Diffusion,
    Subject,
    Way,
    cut,
    further,
    noise,
    subjects,
)
from noisezoo import zoo
from noisezoo.builder.models import Inverter, Runtime, footprint, pick, set_arithmetic, stage_bytes
from noisezoo.builder.recipe import Settings

GAIN = 1.03
"""A doubled batch that adds less ends the sweep."""
CHECKED, SWEPT = 2, (4, 8, 16)
"""Images whose results are compared; batches of a sweep, as multiples of a subject's least."""
HALVES = ("float16", "bfloat16")
PREPARE = "prepare"


@dataclass(frozen=True)
class Row:
    """One way at its best batch.

    Attributes:
        rate: Images a second.
        tflops: Floating-point operations spent on them, in 10^12 a second.
        memory: Peak of the device's memory that torch holds, in GiB; None on a CPU.
        error: Relative to the plain float32 way's result, the worst of two images; None where there is no such way.
        setup: Seconds of the first run, in which kernels are chosen and compiled.
    """

    model: str
    way: str
    batch: int
    forwards: int
    rate: float
    tflops: float
    error: float | None
    memory: float | None
    setup: float


@dataclass(frozen=True)
class Fact:
    """Something measured that is no rate."""

    what: str
    value: Any


@dataclass
class Bench:
    """What a job is given: the device, and a folder in which jobs leave results for each other."""

    small: bool
    folder: Path
    device: torch.device = field(init=False)

    def __post_init__(self) -> None:
        """The first GPU, where there is one."""
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def seconds(self, run: Callable[[], Any], repeats: int = 2) -> float:
        """Least seconds of several runs."""
        found = []
        for _ in range(repeats):
            self.wait()
            start = time.perf_counter()
            run()
            self.wait()
            found.append(time.perf_counter() - start)
        return min(found)

    def wait(self) -> None:
        """Until the device has done what it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def measure(self, subject: Subject, label: str, way: Way, batch: int, error: float | None) -> Row:
        """One way at one batch."""
        release()
        inputs, began = subject.inputs(batch, self.device), time.perf_counter()
        way.run(inputs)
        self.wait()
        setup = time.perf_counter() - began
        rate = batch * way.share / self.seconds(lambda: way.run(inputs))
        return Row(subject.name, label, batch, way.forwards, rate, rate * way.forwards * subject.flops() / 1e12, error,
                   self.memory(), setup)  # fmt: skip

    def sweep(self, subject: Subject, label: str, way: Way, error: float | None) -> Row:
        """The fastest batch, up to the end of memory or the doubling that adds nothing."""
        found: list[Row] = []
        for batch in [2, 4] if self.small else [subject.least * times for times in SWEPT]:
            try:
                found.append(self.measure(subject, label, way, batch, error))
            except RuntimeError:  # out of memory also comes as an error of cuDNN's
                if not found:
                    raise
                break
            if len(found) > 1 and found[-1].rate < GAIN * found[-2].rate:
                break
        return max(found, key=lambda row: row.rate)

    def memory(self) -> float | None:
        """Peak since the last look, in GiB."""
        if self.device.type != "cuda":
            return None
        peak = torch.cuda.max_memory_reserved() / 2**30
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return peak

    def expected(self, subject: Subject) -> Tensor:
        """What the plain float32 way gives for the first images, which `expect` left here."""
        expected: Tensor = torch.load(self.folder / f"{subject.name.replace('/', '-')}.pt")
        return expected

    def leave(self, subject: Subject, result: Tensor) -> None:
        """Leave it there, whole from the first moment."""
        path = self.folder / f"{subject.name.replace('/', '-')}.pt"
        torch.save(result.cpu(), path.with_suffix(".tmp"))
        path.with_suffix(".tmp").rename(path)


def release() -> None:
    """Let go of cached memory."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def apart(ours: Tensor, expected: Tensor) -> float:
    """The worst image's relative difference; infinite where ours is not finite."""
    difference = (ours.cpu() - expected.cpu()).flatten(1).norm(dim=1) / expected.cpu().flatten(1).norm(dim=1)
    return float(difference.nan_to_num(nan=float("inf")).max())


def ceiling(bench: Bench) -> Iterator[Fact]:
    """The best TFLOP/s of square products of Gaussian matrices (of zeros, a GPU is faster)."""
    for name, dtype, tf32 in (("bfloat16", torch.bfloat16, False), ("float16", torch.float16, False),
                              ("tf32", torch.float32, True), ("float32", torch.float32, False)):  # fmt: skip
        torch.backends.cuda.matmul.allow_tf32 = tf32
        sizes = (256,) if bench.small else (4096, 8192)
        yield Fact(f"ceiling {name}", max(product_rate(bench, dtype, n) for n in sizes))


def product_rate(bench: Bench, dtype: torch.dtype, n: int, products: int = 8) -> float:
    """TFLOP/s of (n, n) @ (n, n)."""
    A, B = (torch.randn(n, n, device=bench.device, dtype=dtype) for _ in range(2))

    def run() -> None:
        for _ in range(products):
            A @ B

    run()
    return products * 2 * n**3 / bench.seconds(run) / 1e12


def expect(bench: Bench, name: str) -> Iterator[Fact]:
    """Leave what the plain float32 way gives; nobody is timed meanwhile."""
    subject = subjects(bench.small)[name]
    began = time.perf_counter()
    bench.leave(subject, subject.plain(bench.device, "float32").whole(subject.inputs(CHECKED, bench.device)))
    yield Fact(f"{subject.name}, seconds of two images in plain float32", time.perf_counter() - began)


def eager(bench: Bench, name: str, dtypes: Sequence[str]) -> Iterator[Row]:
    """The plain way in these dtypes, and ours in those of half precision, each at its best batch."""
    subject = subjects(bench.small)[name]
    for dtype in dtypes:
        ways = {f"plain, {dtype}": partial(subject.plain, bench.device, dtype)}
        if dtype in HALVES:
            ways[f"ours, {dtype}"] = partial(subject.ours, bench.device, dtype, Runtime().on(bench.device))
        for label, make in ways.items():
            way = make()
            result = way.whole(subject.inputs(CHECKED, bench.device))
            yield bench.sweep(subject, label, way, apart(result, bench.expected(subject)))
            del way


def compiled(bench: Bench, name: str, dtype: str, batch: int) -> Iterator[Row | Fact]:
    """Ours compiled, at one batch: every other would be compiled anew. The first result is that it is compiled."""
    subject = subjects(bench.small)[name]
    way = subject.ours(bench.device, dtype, Runtime(compile=True).on(bench.device))
    began, batch = time.perf_counter(), 2 if bench.small else batch
    way.run(subject.inputs(batch, bench.device))
    bench.wait()
    setup = time.perf_counter() - began
    yield Fact(f"{subject.name}, seconds to compile at batch {batch}", setup)
    row = bench.measure(subject, f"ours, {dtype}, compiled", way, batch, None)
    error = apart(way.whole(subject.inputs(batch, bench.device))[:CHECKED], bench.expected(subject))
    yield Row(**{**vars(row), "error": error, "setup": setup})


@dataclass
class Autoencoder(Subject):
    """Stable Diffusion's autoencoder, one way or the other, in one memory format."""

    config: Mapping[str, Any]
    decodes: bool
    layout: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        """Its name in the table."""
        self.name, self.least = ("VAE decode" if self.decodes else "VAE encode"), 4

    def inputs(self, count: int, device: torch.device) -> Tensor:
        """Latents, or pixels."""
        side, levels = self.config["sample_size"], len(self.config["block_out_channels"]) - 1
        shape = (4, side >> levels, side >> levels) if self.decodes else (3, side, side)
        return noise((count, *shape), device)

    def plain(self, device: torch.device, dtype: str) -> Way:
        """As diffusers has it."""
        kind = getattr(torch, dtype)
        format = torch.channels_last if self.layout else torch.contiguous_format
        model = self._start(device).to(kind).to(memory_format=format)
        method = model.decode if self.decodes else model.encode
        if self.compile:
            method = torch.compile(method)

        @torch.inference_mode()
        def run(inputs: Tensor) -> Tensor:
            output = method(inputs.to(kind).contiguous(memory_format=format))
            return (output.sample if self.decodes else output.latent_dist.mode()).float()

        return Way(run, run, 1.0, 1)

    def ours(self, device: torch.device, dtype: str, runtime: Runtime) -> Way:
        """The same: `Inverter.encode` adds a scale."""
        return self.plain(device, dtype)

    def _start(self, device: torch.device) -> Any:
        with torch.random.fork_rng(devices=[]), torch.device(device):
            torch.manual_seed(SEED)
            return diffusers.AutoencoderKL(**self.config).eval().requires_grad_(False)

    def forward_once(self) -> None:
        """As `plain`'s."""
        model, inputs = self._start(torch.device("meta")), self.inputs(1, torch.device("meta"))
        model.decode(inputs) if self.decodes else model.encode(inputs)


def autoencoder(bench: Bench, compile: bool) -> Iterator[Row]:
    """Encode and decode: strict float32, TF32 and half precision, in both memory formats."""
    config = cut(AUTOENCODER, AUTOENCODER_CUTS, bench.small)
    for decodes in (False, True):
        expected: Tensor | None = None
        for name, dtype, tf32, layout in (
            ("float32", "float32", False, False), ("tf32", "float32", True, False),
            ("float16", "float16", True, False), ("float16, channels last", "float16", True, True),
            ("bfloat16", "bfloat16", True, False),
        )[1 if compile else 0 :]:  # fmt: skip
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
            subject = Autoencoder(config, decodes, layout, compile)
            way = subject.plain(bench.device, dtype)
            result = way.whole(subject.inputs(CHECKED, bench.device))
            expected = result if expected is None else expected
            yield bench.measure(subject, name + ", compiled" * compile, way, 8, apart(result, expected))
            release()


def bits(bench: Bench) -> Iterator[Fact]:
    """Whether numbers depend on the process, on the size of the batch, on the neighbours in it."""
    subject, half = subjects(bench.small)["sd15"], 2 if bench.small else 8
    for dtype in ("float32", *HALVES):
        way = subject.ours(bench.device, dtype, Runtime().on(bench.device))
        inputs = subject.inputs(2 * half, bench.device)
        first, again, alone = way.run(inputs), way.run(inputs), way.run(inputs[:half])
        replaced = way.run(torch.cat([inputs[:half], inputs[:half].flip(0)]))
        yield Fact(f"bits, {dtype}", {
            "digest": hashlib.sha256(first.cpu().numpy().tobytes()).hexdigest()[:16],
            "the same batch twice": bool(torch.equal(first, again)),
            f"{2 * half} images or {half}": bool(torch.equal(first[:half], alone)),
            "their relative difference": apart(alone, first[:half]),
            "other neighbours": bool(torch.equal(first[:half], replaced[:half])),
        })  # fmt: skip


def whole(bench: Bench) -> Iterator[Row]:
    """From pixels to noise as `accuracy: ddim-50` does it: the autoencoder once, and the forwards of its scheme."""
    choice = pick("ddim-50")
    with TemporaryDirectory() as folder:
        path = write_stable_diffusion(Path(folder), bench.small)
        inverter = Inverter.from_pretrained(path, dtype="float16", device=bench.device, **choice)
        side = 64 if bench.small else 512
        images, before = noise((16, 3, side, side), bench.device).clamp(-1, 1), inverter.network.forwards
        inverter.invert(images)
        forwards, seconds = inverter.network.forwards - before, bench.seconds(lambda: inverter.invert(images), 2)
        alone = bench.seconds(lambda: inverter.encode(images), 2)
    yield Row("SD 1.5", "accuracy: ddim-50, from pixels, float16", 16, forwards, 16 / seconds, 0.0, None,
              bench.memory(), alone / seconds)  # fmt: skip


def write_stable_diffusion(folder: Path, small: bool) -> Path:
    """A folder of SD 1.5's classes at full size, with random weights."""
    from tests.builder.towers import clip_tokenizer, clip_tower

    vae = diffusers.AutoencoderKL(**cut(AUTOENCODER, AUTOENCODER_CUTS, small))
    tower, scheduler = clip_tower(32 if small else 768), diffusers.DDIMScheduler(**STABLE_DIFFUSION)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        unet = diffusers.UNet2DConditionModel(**cut(SD15, UNET_CUTS, small)).half()
    parts = {"unet": unet, "vae": vae, "text_encoder": tower, "tokenizer": clip_tokenizer(), "scheduler": scheduler}
    folder.mkdir(exist_ok=True)
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    index = {name: [type(part).__module__.split(".")[0], type(part).__name__] for name, part in parts.items()}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline", **index}))
    return folder


def build(bench: Bench, count: int = 256) -> Iterator[Fact]:
    """JPEG to Parquet by the command: images a second, and the share of the time in which the GPU was busy."""
    import numpy as np
    from PIL import Image

    count, dtype = (8, "float32") if bench.small else (count, "float16")
    with TemporaryDirectory() as place:
        photos, rng = Path(place) / "photos", np.random.default_rng(0)
        photos.mkdir()
        for i in range(count):
            coarse = Image.fromarray(rng.integers(0, 255, (24, 24, 3), np.uint8))
            coarse.resize((640, 560), Image.Resampling.BICUBIC).save(photos / f"{i:04}.jpg", quality=92)
        model = write_stable_diffusion(Path(place) / "sd15", bench.small)
        command = [sys.executable, "-m", "noisezoo", "build", "faces", "--source", f"imagefolder:{photos}",
                   "--views", "sd15", "--folder", f"sd15={model}", "--set", "accuracy=ddim-50",
                   "--set", f"dtype={dtype}", "--set", "batch_size=32", "--out", str(Path(place) / "out")]  # fmt: skip
        with Busy() as busy:
            began = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "120"})
        took = time.perf_counter() - began
        yield Fact("build, JPEG to Parquet", {
            "images": count, "seconds": took, "images a second": count / took, "GPU busy": busy.share,
            "exit": done.returncode, "says": (done.stdout + done.stderr).strip().splitlines()[-12:],
        })  # fmt: skip


class Busy:
    """The share of samples in which the GPU was at work, from nvidia-smi; None where there is none."""

    share: float | None = None

    def __enter__(self) -> "Busy":
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200"]
        try:
            self.process: subprocess.Popen[str] | None = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        except FileNotFoundError:
            self.process = None
        return self

    def __exit__(self, *error: object) -> None:
        if self.process is not None:
            self.process.terminate()
            samples = [int(line) for line in self.process.communicate()[0].split() if line.isdigit()]
            self.share = sum(samples) / (100 * len(samples)) if samples else None


SMOKED = {"sd15": "sd15", "sdxl": "sdxl", "dit": "dit-xl-2-256", "ddpm": "ddpm-celebahq-256", "pixart": "pixart",
          "ldm": "ldm-celebahq-256", "sd3": "sd3-medium", "flux": "flux-dev"}  # fmt: skip
"""Subjects -> the zoo's row of the same network."""


def planned(name: str, batch: int) -> float | None:
    """GiB that `plan` counts for a network in bfloat16 with a batch; None where it counts none."""
    row = zoo.get(SMOKED[name])
    model = footprint(row)
    if model is None:
        return None
    return (2 * model.network + stage_bytes(row, Settings(dtype="bfloat16"), batch)["network"]) / 2**30


def smoke(bench: Bench, name: str) -> Iterator[Fact]:
    """One network class at full size: two steps there and back, its devices, its memory and what `plan` says of it."""
    subject = {**subjects(bench.small), **further(bench.small)}[name]
    if not isinstance(subject, Diffusion):
        result = subject.ours(bench.device, "float16", Runtime()).whole(subject.inputs(2, bench.device))
        yield Fact(f"smoke, {subject.name}", {"finite": bool(result.isfinite().all()), "GiB": bench.memory()})
        return
    set_arithmetic("bfloat16")
    inverter = subject.inverter(bench.device, "bfloat16", Runtime().on(bench.device), steps=2)
    release()
    bench.memory()  # the weights passed through float32
    latents = subject.inputs(2, bench.device)
    result = inverter.invert_latents(latents)
    with torch.inference_mode():
        back = inverter.scheme.generate(result, inverter.network, None)
    places = {str(parameter.device) for parameter in inverter.pipeline.denoiser.parameters()}
    yield Fact(f"smoke, {subject.name}", {
        "finite": bool(result.isfinite().all() and back.isfinite().all()), "shape": list(result.shape),
        "devices": sorted(places | {str(result.device)}), "dtype": str(result.dtype), "GiB": bench.memory(),
        "GiB planned": planned(name, 2), "there and back": apart(back, latents),
    })  # fmt: skip


def run(job: Callable[[Bench], Iterable[Any]], label: str, small: bool, turn: Any, folder: Path, results: Any) -> None:
    """A process's whole life: what a job yields goes to `results`, and why it ended early.

    Its processes are a group, so that all of them can be stopped together. A job that prepares (label "prepare ...")
    comes to its first result beside others; all else is done by one process at a time, as the device is measured then.
    """
    os.setpgrp()
    try:
        steps = iter(job(Bench(small, folder)))
        if label.startswith(PREPARE):
            results.put((label, next(steps)))
        turn.wait()
        for result in steps:
            results.put((label, result))
    except Exception as fault:
        results.put((label, Fact(f"failed: {label}", f"{type(fault).__name__}: {str(fault)[:600]}")))
    results.put((label, None))


COMPILED = (
    ("sd15", "float16", 32), ("sd15", "float16", 64), ("dit", "float16", 64), ("vit", "float16", 128),
    ("sdxl", "bfloat16", 8),
)  # fmt: skip
"""What is measured compiled: subject, dtype, batch."""


def prepared(names: Sequence[str]) -> dict[str, Callable[[Bench], Iterable[Any]]]:
    """The jobs that compile, which takes the CPU a minute, and that find what results must be."""
    jobs: dict[str, Callable[[Bench], Iterable[Any]]] = {}
    jobs |= {f"{PREPARE} {name}": partial(expect, name=name) for name in names}
    for name, dtype, batch in (each for each in COMPILED if each[0] in names):
        make = partial(compiled, name=name, dtype=dtype, batch=batch)
        jobs[f"{PREPARE} {name}, compiled at {batch}"] = make
    return jobs


def full(names: Sequence[str]) -> dict[str, Callable[[Bench], Iterable[Any]]]:
    """The jobs of the table, the most wanted first."""
    jobs: dict[str, Callable[[Bench], Iterable[Any]]] = {}
    if "sd15" in names:
        jobs["sd15, float16"] = partial(eager, name="sd15", dtypes=("float16",))
    jobs |= {"build": build, "bits": bits, "bits again": bits, "ddim-50": whole}
    jobs |= {f"{name}, halves": partial(eager, name=name, dtypes=HALVES) for name in names if name != "sd15"}
    jobs["autoencoder"] = partial(autoencoder, compile=False)
    jobs |= {f"{name}, float32": partial(eager, name=name, dtypes=("float32",)) for name in names}
    if "sd15" in names:
        jobs["sd15, bfloat16"] = partial(eager, name="sd15", dtypes=("bfloat16",))
    return {**jobs, "autoencoder, compiled": partial(autoencoder, compile=True)}


def tried() -> dict[str, Callable[[Bench], Iterable[Any]]]:
    """The jobs of the smoke test."""
    return {name: partial(smoke, name=name) for name in [*subjects(True), *further(True)]}
