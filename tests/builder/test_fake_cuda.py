"""The device path without a device: fake CUDA tensors carry shapes, dtypes and places; operations are recorded."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.gpu_models import Diffusion, further, subjects
from noisezoo.builder.models import SCHEMES, Runtime, inverter as inverters, pipeline as pipelines
from noisezoo.builder.models.noise_schedule import read_trajectory
from noisezoo.builder.views import METRICS
from tests.builder.models import newer_torch

NETWORKS = {name: each for name, each in {**subjects(True), **further(True)}.items() if isinstance(each, Diffusion)}
CUDA = torch.device("cuda", 0)
WAITS = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero")


@dataclass
class Recorder(TorchDispatchMode):
    """Operations that cross devices, that make the host wait, and the dtypes that reach a device."""

    crossings: list[str] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(wait in str(func) for wait in WAITS):
            self.waits.append(str(func))
        result = func(*args, **(kwargs or {}))
        went_in = {leaf.device.type for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        came_out = {leaf.device.type for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)}
        if went_in and came_out and went_in != came_out:
            self.crossings.append(str(func))
        if not went_in and "cpu" in came_out:
            self.elsewhere.append(str(func))
        return result


def convert(module: torch.nn.Module, *args: Any, **kwargs: Any) -> torch.nn.Module:
    """`Module.to` for fake parameters, which torch cannot swap in place."""
    for each in module.modules():
        for table in (each._parameters, each._buffers):
            for name, value in table.items():
                if value is not None:
                    wanted = {key: kwargs[key] for key in kwargs if key != "memory_format" or value.dim() == 4}
                    new = value.detach().to(*args, **wanted) if args or wanted else value
                    table[name] = torch.nn.Parameter(new, requires_grad=False) if table is each._parameters else new
    return module


def read_with_numbers(*args: Any, **kwargs: Any) -> Any:
    """The schedule, whose numbers the host needs."""
    with unset_fake_temporarily():
        return read_trajectory(*args, **kwargs)


@contextmanager
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules are made on a fake GPU; conditions are taken to be equal, as fake tensors hold no numbers."""
    monkeypatch.setattr(torch.nn.Module, "to", convert)
    monkeypatch.setattr(torch, "equal", lambda a, b: a.shape == b.shape)
    monkeypatch.setattr(inverters, "read_trajectory", read_with_numbers)
    monkeypatch.setattr(pipelines, "check_arithmetic", lambda *args, **kwargs: None)  # it asks the driver
    monkeypatch.setattr(torch.autograd, "grad", lambda f, z: (torch.empty_like(z),))  # its engine does, too
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def record(subject: Diffusion, scheme: str, dtype: str, batch: int = 2) -> tuple[Recorder, Any, torch.Tensor]:
    """What the loop over steps does, from latents that lie on the device; conditions are set before."""
    inverter = subject.inverter(CUDA, dtype, Runtime(), steps=4, scheme=scheme)
    latents = torch.empty((batch, *subject.inputs(1, torch.device("cpu")).shape[1:]), device=CUDA)
    draw = lambda: torch.empty_like(latents)  # noqa: E731
    inverter.scheme.invert(latents, inverter.network, draw)  # constants are copied to the device once
    with Recorder() as recorder, torch.inference_mode():
        noise, _ = inverter.scheme.invert(latents, inverter.network, draw)
    return recorder, inverter, noise


@newer_torch
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_class_stays_on_the_device_and_never_waits_in_the_loop(
    name: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_cuda(monkeypatch):
        recorder, _, noise = record(NETWORKS[name], "ddim", dtype)
        assert (noise.device, noise.dtype) == (CUDA, torch.float32)
    assert not recorder.crossings
    assert not recorder.elsewhere
    assert not recorder.waits


@newer_torch
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_stays_on_the_device_and_never_waits_in_the_loop(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_cuda(monkeypatch):
        recorder, _, noise = record(NETWORKS["sd15"], scheme, "bfloat16")
        assert (noise.device, noise.dtype) == (CUDA, torch.float32)
    assert not (recorder.crossings or recorder.waits or recorder.elsewhere)


@pytest.mark.parametrize("metric", ["psnr", "ssim"])
def test_pictures_are_measured_on_the_device_and_nothing_waits(metric: str) -> None:
    with FakeTensorMode():
        pictures = torch.empty(2, 3, 32, 32, device=CUDA)
        with Recorder() as recorder:
            found = METRICS[metric](pictures, pictures)
        assert (found.device, tuple(found.shape)) == (CUDA, (2,))
    assert not (recorder.crossings or recorder.waits or recorder.elsewhere)


def test_regenerating_keeps_nothing_of_each_forward_and_not_the_faults_of_the_inversion_before() -> None:
    subject = NETWORKS["ddpm"]
    inverter = subject.inverter(torch.device("cpu"), "float32", Runtime(), steps=2)
    noise = inverter.invert_latents(subject.inputs(2, torch.device("cpu")))
    kept, faults = len(inverter.network.finite), inverter.faults
    for _ in range(3):
        inverter.generate(noise)
    assert len(inverter.network.finite) == kept
    assert inverter.faults == faults == [None, None]


@newer_torch
def test_the_recorder_sees_a_copy_a_wait_and_a_tensor_made_on_the_host() -> None:
    """The test of the test: a loop that does all three is seen to."""
    with FakeTensorMode(), Recorder() as recorder:
        x = torch.ones(3, device=CUDA)
        x.new_tensor([1.0])
        torch.arange(3).to(CUDA)
        with pytest.raises(Exception, match="_local_scalar_dense"):
            x.sum().item()
    assert recorder.waits
    assert recorder.elsewhere
    assert recorder.crossings
