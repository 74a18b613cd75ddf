"""What a view of many images costs: network passes, their work, and the size of the array."""

from dataclasses import dataclass

from noisezoo import zoo

H100_TFLOPS = 0.4 * 989
"""Work a second of an H100 at 40 % of its dense bf16 peak, as well-tuned inversion runs."""
DECODE = 2.2
"""Work of an autoencoder's decoder over its encoder's (Stable Diffusion's, at any size)."""


@dataclass(frozen=True)
class Cost:
    """What a view of many images costs."""

    forwards: float  # network passes
    network: float  # their work, in GFLOP
    autoencoder: float  # the work of encoding, and of decoding what is regenerated, in GFLOP
    bytes: int  # of the array, before compression

    @property
    def gflops(self) -> float:
        """All work, in GFLOP."""
        return self.network + self.autoencoder

    @property
    def h100_hours(self) -> float:
        """Hours on one H100."""
        return self.gflops / 1e3 / H100_TFLOPS / 3600


def cost_of(
    row: zoo.View, images: int, steps: int = 50, guided: bool = False, *,
    passes: tuple[float, float] | None = None, reconstruct: float = 0.0,
) -> Cost:  # fmt: skip
    """Cost of a view of `images` pictures.

    Args:
        row: A row of the zoo.
        images: How many.
        steps: Inference steps of one network call each; only a diffusion model takes them.
        guided: Two passes a step, with and without the prompt.
        passes: Network calls of one inversion and of one generation, where the scheme makes other than one a step.
        reconstruct: Share of the rows that are regenerated.
    """
    own, encode = (0.0, row.gflops) if row.family == "vae" else (row.gflops, row.autoencoder_gflops)
    invert, generate = (passes or (steps, steps)) if row.family == "diffusers" else (float(row.gflops > 0), 0.0)
    forwards = images * (1 + (guided and row.family == "diffusers")) * (invert + reconstruct * generate)
    decoded = reconstruct if generate else 0.0
    return Cost(forwards, forwards * own, images * encode * (1 + DECODE * decoded), images * size_of(row))


def size_of(row: zoo.View) -> int:
    """Bytes of one row's array, before compression."""
    return row.size * (2 if row.dtype == "float16" else 4)
