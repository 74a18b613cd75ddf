"""Batch sizes, chosen before the work: how many images a device's memory holds at once in each stage of a view."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from noisezoo.builder.recipe import Settings
    from noisezoo.zoo import View

SHARE = 0.85
"""Share of the device's memory to plan with; the rest is the driver's, the libraries' and lost between blocks."""


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
        "metrics": 1,
    }


def weights_of(views: "Sequence[View]", dtype: str) -> float:
    """Bytes of the networks of these views, each model once; 0 for what is not known."""
    from noisezoo.builder.models import footprint

    models = {view.repo: (found, view) for view in views if (found := footprint(view)) is not None}
    return sum(found.weights(view, dtype) for found, view in models.values())


def device_memory(device: "torch.device") -> float | None:
    """Bytes of an accelerator's memory; None where torch does not say, as of a CPU."""
    import torch

    return float(torch.cuda.get_device_properties(device).total_memory) if device.type == "cuda" else None
