"""Paint faces from their factors, back to front, in head coordinates: u right, v down, the head about 1 wide.

Shapes are signed distances in face units, negative inside, for many pictures at once; arrays broadcast to (n, size,
size). Only +, -, *, / and sqrt are used: IEEE 754 fixes their results to the last bit, so a face's pixels are the same
under every version of every library.
"""

import numpy as np

from .factors import Factors

Array = np.ndarray
CHUNK = 64  # pictures painted together: their planes stay in the cache


def render(factors: Factors, size: int = 32) -> np.ndarray:
    """Draw the faces: (n, size, size, 3) uint8. Every size draws the same geometry, antialiased to its own pixels."""
    n = len(next(iter(factors.values())))
    chunks = [slice(i, i + CHUNK) for i in range(0, n, CHUNK)]
    pictures = [_render_chunk({name: column[c] for name, column in factors.items()}, size) for c in chunks]
    return np.concatenate(pictures) if pictures else np.empty((0, size, size, 3), np.uint8)


class _Face:
    """Faces being painted: factors as (n, 1, 1) float32 planes, and the pixel grid in head coordinates.

    Attributes:
        pixels: (n, size, size, 3) float32 in [0, 1], the picture so far.
        skin, hair: Colours, broadcastable to the pixels.
        unit: One pixel in face units.
    """

    pixels: Array
    skin: Array
    hair: Array

    def __init__(self, factors: Factors, size: int) -> None:
        self._planes = {name: column.astype(np.float32)[:, None, None] for name, column in factors.items()}
        grid = ((np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(2 / size) - 1)[None]
        self.x, self.y = grid[:, None, :], grid[:, :, None]  # (1, 1, size), (1, size, 1)
        t = self["roll"]
        cos, sin = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
        x, y = self.x - self["shift_x"], self.y - self["shift_y"]
        self.u = (cos * x + sin * y) / self["scale"] / np.float32(1.1)  # (n, size, size)
        self.v = (cos * y - sin * x) / self["scale"] / np.float32(1.1)
        self.unit = np.float32(2 / size / 1.1) / self["scale"]
        self.cu, self.cv = np.float32(0.07) * self["turn"], np.float32(0.03) * self["nod"]  # where the features sit

    def __getitem__(self, name: str) -> Array:
        return self._planes[name]

    def rgb(self, prefix: str) -> Array:
        return np.stack([self[f"{prefix}_{channel}"] for channel in "rgb"], axis=-1)

    def paint(self, alpha: Array, color: Array) -> None:
        """Blend `color`, broadcastable to (n, size, size, 3), over the picture with opacity `alpha` (n, size, size)."""
        self.pixels += alpha[..., None] * (color - self.pixels)

    def fill(self, distance: Array, color: Array, opacity: Array | float = 1.0) -> None:
        """Paint the inside of a shape; `opacity` (n, 1, 1) is 0 where a face lacks the feature."""
        coverage = np.clip(np.float32(0.5) - distance / self.unit, 0, 1)  # share of each pixel that the shape covers
        self.paint(coverage * opacity, color)

    def mix(self, name: str, low: tuple[float, float, float], high: tuple[float, float, float]) -> Array:
        """The colour `name` of the way from `low` to `high`: (n, 1, 1, 3)."""
        a, b = color(*low), color(*high)
        return np.asarray(a + self[name][..., None] * (b - a))


def color(r: float, g: float, b: float) -> Array:
    """One colour, ready to paint: (1, 1, 1, 3) float32."""
    return np.array([[[[r, g, b]]]], dtype=np.float32)


def _render_chunk(factors: Factors, size: int) -> np.ndarray:
    face = _Face(factors, size)
    ramp = (face["gradient_x"] * face.x + face["gradient_y"] * face.y)[..., None]
    face.pixels = np.asarray(np.clip(face.rgb("background") + ramp * face.rgb("contrast"), 0, 1))
    tone = face.mix("skin_tone", (0.90, 0.69, 0.53), (0.50, 0.32, 0.22))
    face.skin = tone + np.float32(0.78) * face["Pale_Skin"][..., None] * (color(0.99, 0.95, 0.93) - tone)
    face.hair = _hair_color(face)
    for layer in (_body, _back_hair, _head, _cheeks, _eyes, _nose, _mouth, _front_hair, _brows, _glasses, _hat):
        layer(face)
    light = 1 + np.float32(0.13) * (face["light_x"] * face.u + face["light_y"] * face.v)
    pixels = np.clip(face.pixels * (light * face["exposure"])[..., None], 0, 1)
    return np.asarray(np.floor(pixels * np.float32(255) + np.float32(0.5)), dtype=np.uint8)


def _hair_color(face: _Face) -> Array:
    """Locks of every hair colour the face has, side by side; brown if it has none: (n, size, size, 3)."""
    brown = face.mix("hair_shade", (0.30, 0.17, 0.09), (0.55, 0.33, 0.17))
    dyes = {"Black_Hair": (0.07, 0.06, 0.08), "Blond_Hair": (0.96, 0.83, 0.40), "Gray_Hair": (0.68, 0.70, 0.74)}
    has = np.stack([face[name] for name in dyes], axis=-1)[..., None]  # (n, 1, 1, 3, 1)
    lock = np.abs(((face.u / np.float32(0.21))[..., None] - np.arange(3, dtype=np.float32) + 40.5) % 3 - 1.5)
    weight = (np.maximum(1 - lock, 0)[..., None] + np.float32(0.02)) * has  # (n, size, size, 3, 1)
    total = weight.sum(axis=-2)  # (n, size, size, 1)
    palette = np.stack([color(*rgb)[0] for rgb in dyes.values()], axis=-2)  # (1, 1, 3, 3)
    blend = (weight * palette).sum(axis=-2) / np.maximum(total, np.float32(1e-6))
    return np.where(total > 0, blend, brown)


def _body(face: _Face) -> None:
    face.fill(ellipse(face.u, face.v, 0, 1.12, 0.85, 0.36), face.rgb("shirt"))
    face.fill(box(face.u, face.v, 0, 0.70, 0.19, 0.14), face.skin * np.float32(0.86))


def _back_hair(face: _Face) -> None:
    length = np.float32(0.60) + np.float32(0.32) * face["hair_length"]
    face.fill(ellipse(face.u, face.v, 0, -0.02, 0.66 * face["face_width"], length), face.hair * np.float32(0.92),
                1 - face["Bald"])  # fmt: skip
    for side in (-1, 1):
        tuft = ellipse(face.u, face.v, side * 0.53 * face["face_width"], -0.02, 0.14, 0.20)
        face.fill(tuft, face.hair, face["Bald"])


def _head(face: _Face) -> None:
    for side in (-1, 1):
        ear = ellipse(face.u, face.v, side * 0.52 * face["face_width"], 0.10, 0.08, 0.12)
        face.fill(ear, face.skin * np.float32(0.92))
    face.fill(ellipse(face.u, face.v, 0, 0.04, 0.52 * face["face_width"], 0.68), face.skin)


def _cheeks(face: _Face) -> None:
    for side in (-1, 1):
        blush = glow(face.u, face.v, face.cu + side * 0.31, face.cv + 0.26, 0.22, 0.20)
        face.paint(np.float32(0.85) * blush * face["Rosy_Cheeks"], color(0.93, 0.30, 0.36))


def _eyes(face: _Face) -> None:
    open_height = np.float32(0.095) - np.float32(0.058) * face["Narrow_Eyes"]
    iris = face.mix("eye_color", (0.16, 0.09, 0.05), (0.20, 0.42, 0.62))
    for side in (-1, 1):
        cu, cv = face.cu + side * 0.21, face.cv - 0.04
        lid = ellipse(face.u, face.v, cu, cv, 0.145, open_height + np.float32(0.028))
        white = ellipse(face.u, face.v, cu, cv, 0.125, open_height)
        pupil = ellipse(face.u, face.v, cu + 0.03 * face["gaze"], cv, 0.062, 0.075)
        face.fill(lid, face.skin * np.float32(0.55))
        face.fill(white, color(0.98, 0.98, 0.98))
        face.fill(np.maximum(pupil, white), iris)


def _brows(face: _Face) -> None:
    thickness = np.float32(0.022) + np.float32(0.036) * face["Bushy_Eyebrows"]
    for side in (-1, 1):
        stroke = arc(face.u, face.v, face.cu + side * 0.22, face.cv - 0.245, 0.15, 0.03, thickness)
        face.fill(stroke, color(0.16, 0.10, 0.07))


def _glasses(face: _Face) -> None:
    frame = face["frame_shade"][..., None] * color(1, 1, 1)
    lenses = [ellipse(face.u, face.v, face.cu + side * 0.22, face.cv - 0.03, 0.195, 0.165) for side in (-1, 1)]
    lens = np.minimum(*lenses)
    bridge = box(face.u, face.v, face.cu, face.cv - 0.05, 0.06, 0.022)
    arms = box(face.u, face.v, 0, face.cv - 0.06, 0.52, 0.02)
    face.fill(lens, color(0.62, 0.78, 0.86), np.float32(0.30) * face["Eyeglasses"])
    face.fill(np.maximum(arms, -lens), frame, face["Eyeglasses"])
    face.fill(np.minimum(np.abs(lens) - np.float32(0.026), bridge), frame, face["Eyeglasses"])


def _nose(face: _Face) -> None:
    big = face["Big_Nose"]
    cu, cv = face.cu * np.float32(1.5), face.cv + 0.14
    tip = ellipse(face.u, face.v, cu, cv, 0.055 + 0.085 * big, 0.075 + 0.055 * big)
    shade = ellipse(face.u, face.v, cu, cv + 0.03, 0.065 + 0.09 * big, 0.08 + 0.06 * big)
    face.fill(shade, face.skin * np.float32(0.66))
    face.fill(tip, face.skin * np.float32(0.90) + color(0.05, 0.0, 0.0))


def _mouth(face: _Face) -> None:
    smile, opened, stick = face["Smiling"], face["Mouth_Slightly_Open"], face["Wearing_Lipstick"][..., None]
    half = (np.float32(0.19) + np.float32(0.05) * smile) * face["mouth_width"]
    rest = np.float32(0.035) * face["mouth_rest"]
    bend = smile * np.float32(-0.15) - (1 - smile) * rest
    cu, cv = face.cu, face.cv + np.float32(0.42) + np.float32(0.05) * smile
    natural = face.skin * np.float32(0.62) + color(0.12, 0.0, 0.02)
    lips = natural + stick * (color(0.86, 0.06, 0.14) - natural)
    thickness = np.float32(0.030) + np.float32(0.020) * face["Wearing_Lipstick"]
    face.fill(ellipse(face.u, face.v, cu, cv + 0.025, 0.145, 0.078 + thickness), lips, opened)
    face.fill(arc(face.u, face.v, cu, cv, half, bend, thickness), lips)
    face.fill(ellipse(face.u, face.v, cu, cv + 0.03, 0.115, 0.070), color(0.16, 0.02, 0.04), opened)
    face.fill(box(face.u, face.v, cu, cv - 0.005, 0.085, 0.022), color(0.97, 0.97, 0.95), opened)
    whiskers = arc(face.u, face.v, face.cu, face.cv + 0.29, 0.20, 0.05, 0.042)
    face.fill(whiskers, color(0.20, 0.13, 0.09), face["Mustache"])


def _front_hair(face: _Face) -> None:
    skull = ellipse(face.u, face.v, 0, -0.02, 0.60 * face["face_width"], 0.68)
    hairline = face.v + np.float32(0.44) - np.float32(0.55) * face.u * face.u
    face.fill(np.maximum(skull, hairline), face.hair, 1 - face["Bald"])
    fringe = ellipse(face.u, face.v, 0, -0.42, 0.42 * face["face_width"], 0.20)
    face.fill(fringe, face.hair * np.float32(0.97), face["Bangs"])


def _hat(face: _Face) -> None:
    crown = np.maximum(ellipse(face.u, face.v, 0, -0.44, 0.55, 0.48), face.v + np.float32(0.44))
    brim = arc(face.u, face.v, 0, -0.45, 0.74, 0.05, 0.055)
    shade = face.rgb("hat")
    face.fill(crown, shade, face["Wearing_Hat"])
    face.fill(brim, shade * np.float32(0.75), face["Wearing_Hat"])


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
