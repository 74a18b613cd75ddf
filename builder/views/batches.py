"""What a recipe leaves to the device, chosen before the work: arithmetic, compilation, images at once in each stage."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from noisezoo.costs import H100_TFLOPS, cost_of

if TYPE_CHECKING:
    import torch

    from noisezoo.builder.recipe import Settings
    from noisezoo.zoo import View

SHARE = 0.85
"""Share of the device's memory to plan with; the rest is the driver's, the libraries' and lost between blocks."""

COMPILE_SECONDS = 1800.0
"""Least seconds of a view's passes on one H100, uncompiled, for which compiling pays: it takes each process a minute
and saves 28 % of the network's time (SD 1.5 on an H200: 9.3 images a second for 6.7), so that eight processes gain."""


def choose_arithmetic(
    view: "View", settings: "Settings", *, accelerated: bool, images: int = 0, device: "torch.device | None" = None
) -> dict[str, Any]:
    """Arithmetic and compilation of a view, `dtype` and `compile`, where the recipe's settings leave them open.

    Args:
        view: The view.
        settings: The recipe's.
        accelerated: Whether it is computed on a GPU: there in the half precision that its row names, or in tf32.
        images: How many; compiling must pay for itself.
        device: The GPU, which may lack the arithmetic; float32 then.
    """
    from noisezoo.builder.models import can_compile, has_arithmetic

    dtype: str = settings.dtype or (view.half or "tf32" if accelerated else "float32")
    if settings.dtype is None and device is not None and not has_arithmetic(dtype, device):
        dtype = "float32"
    compiled = settings.compile
    if compiled is None and accelerated and view.family != "vae":
        cost = cost_of(view, images, passes=passes(settings), reconstruct=settings.reconstruct)
        compiled = cost.network / 1e3 / H100_TFLOPS >= COMPILE_SECONDS and can_compile()
    return {"dtype": dtype, "compile": compiled or False}


def passes(settings: "Settings") -> tuple[float, float]:
    """Passes of one inversion and of one generation by the recipe's scheme, counted on a state of one number.

    Raises UsageError where there is no such scheme, or it has no such option.
    """
    import torch

    from noisezoo.builder.models import Trajectory, make_scheme

    abar = np.linspace(0.999, 0.001, settings.num_inference_steps + 1)
    a, s, times = abar**0.5, (1 - abar) ** 0.5, np.arange(float(len(abar)))
    scheme = make_scheme(settings.scheme, Trajectory(times, a, s, "epsilon", 2, (times, a, s)), settings.scheme_options)
    state, calls = torch.zeros(1, 1, 1, 1), [0]

    def network(y: torch.Tensor, time: float) -> torch.Tensor:
        calls[0] += 1
        return y

    noise, previous = scheme.invert(state, network, lambda: state)
    inverted = calls[0]
    scheme.generate(noise, network, previous)
    return inverted * scheme.passes_each, float(calls[0] - inverted)


def choose_sizes(
    view: "View", settings: "Settings", *, memory: float, weights: float, slice_rows: int | None = None
) -> dict[str, int]:
    """Images at once in each stage: the recipe's batch size, halved until the stage fits.

    Rows that are regenerated get a smaller batch, as many as a slice has on average: filled up to the network's size,
    a sample of 2 % would cost as much as half of the slice.

    Args:
        view: The view.
        settings: The recipe's.
        memory: Bytes of the device.
        weights: Bytes of the networks that are loaded together.
        slice_rows: Rows of a slice; by default, a batch's.

    Returns:
        Stage (`encode`, `network`, `reconstruct`, `metrics`) -> images, at least 1.
    """
    from noisezoo.builder.models import stage_bytes

    room = SHARE * memory - weights

    def fitting(size: int, *stages: str) -> int:
        while size > 1 and max(stage_bytes(view, settings, size)[stage] for stage in stages) > room:
            size //= 2
        return size

    expected = 1 << max(0, round(settings.reconstruct * (slice_rows or settings.batch_size)) - 1).bit_length()
    return {
        "encode": fitting(settings.batch_size, "encode"),
        "network": fitting(settings.batch_size, "network"),
        "reconstruct": fitting(min(expected, settings.batch_size), "encode", "network"),
        "metrics": fitting(min(expected, settings.batch_size), "encode", "network"),
    }


def weights_of(views: "Sequence[View]", settings: "Settings") -> float:
    """Bytes of what these views hold on a GPU, each model once; 0 for what is not known.

    Text towers stay only where each image brings its own prompt.
    """
    from noisezoo.builder.models import footprint

    models = {view.repo: (found, view) for view in views if (found := footprint(view)) is not None}
    dtypes = [choose_arithmetic(view, settings, accelerated=True)["dtype"] for _, view in models.values()]
    pairs, texts = zip(models.values(), dtypes, strict=True), settings.prompt_column is not None
    return sum(found.weights(view, dtype) + texts * found.towers(view, dtype) for (found, view), dtype in pairs)


def device_memory(device: "torch.device") -> float | None:
    """Bytes of an accelerator's memory; None where torch does not say, as of a CPU."""
    import torch

    return float(torch.cuda.get_device_properties(device).total_memory) if device.type == "cuda" else None
