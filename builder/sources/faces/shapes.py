"""Antialiased shapes as signed distances, for many pictures at once.

Only +, -, *, / and sqrt are used: IEEE 754 fixes their results to the last bit, so a face's pixels are the same under
every version of every library. Distances are in face units, negative inside; arrays broadcast to (n, size, size).
"""

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


def ellipse(u: Array, v: Array, cu: Array | float, cv: Array | float, ru: Array | float, rv: Array | float) -> Array:
    """Signed distance to an axis-aligned ellipse, first order accurate near its edge (where coverage is decided)."""
    a, b = (u - cu) / ru, (v - cv) / rv
    k0 = np.sqrt(a * a + b * b)
    k1 = np.sqrt((a / ru) ** 2 + (b / rv) ** 2)
    return np.asarray(k0 * (k0 - 1) / (k1 + np.float32(1e-6)))


def arc(u: Array, v: Array, cu: Array | float, cv: Array | float, half: Array | float, bend: Array | float,
        thickness: Array | float) -> Array:  # fmt: skip
    """Signed distance to a parabolic stroke: `v = cv + bend * ((u - cu) / half)^2`, of a half length and thickness."""
    t = (u - cu) / half
    slope = 2 * bend * t / half
    across = np.abs(v - cv - bend * t * t) / np.sqrt(1 + slope * slope) - thickness
    return np.asarray(np.maximum(across, np.abs(u - cu) - half))


def box(u: Array, v: Array, cu: Array | float, cv: Array | float, ru: Array | float, rv: Array | float) -> Array:
    """Signed distance (maximum norm) to an axis-aligned rectangle of half sizes ru and rv."""
    return np.asarray(np.maximum(np.abs(u - cu) - ru, np.abs(v - cv) - rv))


def glow(u: Array, v: Array, cu: Array | float, cv: Array | float, ru: Array | float, rv: Array | float) -> Array:
    """A soft blob in [0, 1]: (1 - r^2)^2 inside the ellipse, 0 outside."""
    r2 = ((u - cu) / ru) ** 2 + ((v - cv) / rv) ** 2
    return np.asarray(np.maximum(1 - r2, 0) ** 2)


@dataclass
class Canvas:
    """Pictures being painted: `pixels` is (n, size, size, 3) float32 in [0, 1]; `unit` is one pixel in face units."""

    pixels: Array
    unit: Array

    def coverage(self, distance: Array) -> Array:
        """Share of each pixel that a shape covers, from its signed distance: (n, size, size) in [0, 1]."""
        return np.asarray(np.clip(np.float32(0.5) - distance / self.unit, 0, 1))

    def paint(self, alpha: Array, color: Array) -> None:
        """Blend `color`, broadcastable to (n, size, size, 3), over the picture with opacity `alpha` (n, size, size)."""
        self.pixels += alpha[..., None] * (color - self.pixels)

    def fill(self, distance: Array, color: Array, opacity: Array | float = 1.0) -> None:
        """Paint the inside of a shape; `opacity` (n, 1, 1) is 0 where a face lacks the feature."""
        self.paint(self.coverage(distance) * opacity, color)
