"""Residual views computed anew from images: what a build makes of two stored views is recomputed by one inversion."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from noisezoo.zoo import RESIDUAL
from .computer import Batch, Computer, Rows
from .networks import NoiseComputer

if TYPE_CHECKING:
    from PIL.Image import Image

    from noisezoo.builder.recipe import Settings
    from noisezoo.zoo import View


class ResidualComputer(Computer):
    """x_T - a z0: the noise less the image's share of it, both rounded as their own views are stored."""

    def __init__(self, view: "View", settings: "Settings") -> None:
        super().__init__(view, settings)
        row = replace(view, name=view.name.removesuffix(RESIDUAL), family="diffusers", kind="noise")
        self.noise = NoiseComputer(row, settings)

    def load(self) -> None:
        """Read the diffusers folder."""
        self.noise.load()
        self.stages, self.facts = self.noise.stages, self.noise.facts

    def prepare(self, image: "Image") -> np.ndarray:
        """As for the noise."""
        return self.noise.prepare(image)

    def encode(self, inputs: np.ndarray) -> np.ndarray:
        """As for the noise."""
        return self.noise.encode(inputs)

    def compute(self, values: np.ndarray, batch: Batch) -> Rows:
        """Invert, and subtract."""
        x_T = self.noise.compute(values, batch)[self.noise.view.name]
        stored_x, stored_z = (each.astype(self.view.dtype).astype(np.float32) for each in (x_T, values))
        return {self.view.name: stored_x - np.float32(self.facts["x_T_a"]) * stored_z}
