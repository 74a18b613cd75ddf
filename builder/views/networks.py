"""Views that are models: noise by inversion, embeddings by an encoder, latents by an autoencoder."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import fields
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import PartialState

from noisezoo.builder import models
from noisezoo.builder.sources import to_rgb
from noisezoo.errors import UsageError
from noisezoo.schema import PREVIOUS
from .batches import choose_arithmetic, choose_sizes, device_memory, weights_of
from .computer import FAULT, Batch, Computer, Rows, check_shape, concatenated, digest_number, places
from .quality import PREFIX, is_sampled, latent_statistics, measure
from .slices import Slice, cut

if TYPE_CHECKING:
    from PIL.Image import Image

    from noisezoo.builder.recipe import Settings
    from noisezoo.zoo import View


class ModelComputer(Computer):
    """A view with weights: a shipped or local folder, or a Hub repository at its pinned revision."""

    @property
    def device(self) -> "torch.device":
        """The device accelerate gave this process."""
        device: torch.device = PartialState().device
        return device

    def set_up(self) -> None:
        """Set the arithmetic; batches on an accelerator are filled up, so that all have one shape."""
        self.settings = settled(self.view, self.settings, self.device)
        compiled, dtype = bool(self.settings.compile), self.settings.dtype or "float32"
        models.check_arithmetic(dtype, self.device, compiled=compiled)
        self.arithmetic = models.set_arithmetic(dtype, compiled=compiled)
        self.stages.filled = self.device.type != "cpu"
        if self.stages.filled:
            memory, weights = device_memory(self.device) or inf, weights_of([self.view], self.settings)
            self.stages.sizes |= choose_sizes(self.view, self.settings, memory=memory, weights=weights)


class LatentComputer(ModelComputer):
    """The autoencoder's latent that a latent diffusion inverts: what its noise is made from."""

    pipeline: models.Pipeline

    def load(self) -> None:
        """Read the autoencoder alone."""
        self.set_up()
        folder = models.resolve(
            self.view.location, self.view.revision, family=self.view.family, pickled=self.view.pickled
        )
        self.pipeline = models.load_pipeline(
            folder, dtype=self.arithmetic["dtype"], device=self.device, denoise=False, pickled=self.view.pickled,
            runtime=make_runtime(self.settings),
        )  # fmt: skip
        if self.pipeline.autoencoder is None:
            raise UsageError(f"view {self.view.name}: {folder} has no autoencoder")
        self.pipeline.check_picture(self.view.resolution, self.view.resolution)
        self._share_encoding()

    def prepare(self, image: "Image") -> np.ndarray:
        """(3, h, w) in [-1, 1]."""
        return self.pixels(image)

    def encode(self, inputs: np.ndarray) -> np.ndarray:
        """The posterior's mode, shifted and scaled; the images themselves for a model without an autoencoder."""
        return models.encode(self.pipeline, torch.from_numpy(inputs)).cpu().numpy()

    def compute(self, values: np.ndarray, batch: Batch) -> Rows:
        """As they are encoded."""
        return {self.view.name: values}

    def _share_encoding(self) -> None:
        """Two views share encodings where their autoencoders are alike to the bit and see the same pixels."""
        if self.pipeline.autoencoder is not None:
            self.encoding = f"{module_digest(self.pipeline.autoencoder)} {self.view.resolution} {self.view.augment}"


class NoiseComputer(LatentComputer):
    """Noise by inversion, with each row's mean and standard deviation, and for a sample of rows how they regenerate."""

    def load(self) -> None:
        """Read the diffusers folder."""
        self.set_up()
        self.inverter = make_inverter(self.view, self.settings, self.device)
        self.pipeline = self.inverter.pipeline
        self.inverter.check_picture(self.view.resolution, self.view.resolution)
        self._share_encoding()
        path, metrics = self.inverter.trajectory, self.settings.metrics if self.settings.reconstruct else ()
        # where x_T = a x0 + s eps sits: the time the network is told there, and a and s
        self.facts = {"x_T_time": float(path.times[-1]), "x_T_a": float(path.a[-1]), "x_T_s": float(path.s[-1])}
        self.quality = ("latent_mean", "latent_std", *(PREFIX + metric for metric in metrics))

    @property
    def arrays(self) -> tuple[str, ...]:
        """The noise, and beside it the last state but one where the scheme's way back needs it."""
        return (self.view.name, PREVIOUS) if self.inverter.scheme.keeps_previous else (self.view.name,)

    def cut_prompts(self, prompts: Sequence[str] | None) -> list[bool]:
        """Where a prompt has more tokens than the text towers are given."""
        prompts = [self.settings.prompt] if prompts is None else prompts
        return [self.inverter.network.is_cut(prompt) for prompt in prompts]

    def compute(self, values: np.ndarray, batch: Batch) -> Rows:
        """Invert."""
        check_shape(self.view, values.shape[1:])  # before a long inversion, not after it
        seeds = [image_seed(self.view.name, self.settings.seed, image_id) for image_id in batch.ids]
        noise, previous = self.inverter.invert_states(torch.from_numpy(values), prompts=batch.prompts, seeds=seeds)
        array = noise.cpu().numpy()
        steps = self.inverter.trajectory.steps
        faults = [None if step is None else f"the network's output is not finite at step {step + 1} of {steps}"
                  for step in self.inverter.faults]  # fmt: skip
        rows = {self.view.name: array, **latent_statistics(array), FAULT: np.array(faults, dtype=object)}
        return rows if previous is None else {**rows, PREVIOUS: previous.cpu().numpy()}

    def measure(self, rows: Rows, positions: Sequence[int], part: Slice) -> Rows:
        """Regenerate the sampled rows from what is stored of them; NaN where a row is not in the sample.

        Batches are cut from the sample before anything is refused, so that no row's batch depends on who computes it.
        """
        s = self.settings
        if not s.reconstruct:
            return {}
        added = {PREFIX + metric: np.full(len(positions), np.nan, np.float32) for metric in s.metrics}
        faults = np.full(len(positions), None, dtype=object)
        sample = [i for i, image_id in enumerate(part.ids) if is_sampled(image_id, s.seed, s.reconstruct)]
        for batch in cut(range(len(sample)), s.batch_size):
            at = places([sample[i] for i in batch], positions)
            made = self.stages.run("reconstruct", lambda p: self._generate(rows, p, positions, part), at)
            chosen = at[at >= 0]
            for name, column in self._measured(made, [positions[i] for i in chosen], part).items():
                added[name][chosen] = column
                faults[chosen[~np.isfinite(column)]] = "the picture regenerated from the row is not finite"
        return {**added, FAULT: faults}

    def _generate(self, rows: Rows, chosen: np.ndarray, positions: Sequence[int], part: Slice) -> np.ndarray:
        """Pictures of the chosen rows, (b,) int: (b, 3, h, w) float32."""
        states = {name: torch.from_numpy(rows[name][chosen].astype(np.float32)) for name in self.arrays}
        prompts = Batch(part.ids, part.prompts)[[positions[i] for i in chosen]].prompts
        noise, previous = states[self.view.name], states.get(PREVIOUS)
        return np.asarray(self.inverter.generate(noise, previous=previous, prompts=prompts).cpu().numpy())

    def _measured(self, made: Sequence[np.ndarray], positions: Sequence[int], part: Slice) -> Rows:
        """The metrics of regenerated pictures; nothing of none."""

        def measured(p: np.ndarray) -> Rows:
            given = np.stack([self.see(part.picture(positions[i])) for i in p])
            return measure(self.settings.metrics, images[p], given, self.device)

        images = np.concatenate(made) if made else np.empty(0)
        found = self.stages.run("metrics", measured, np.arange(len(positions)))
        return concatenated(found) if found else {}


class EmbeddingComputer(ModelComputer):
    """An encoder's raw embedding."""

    def load(self) -> None:
        """Read the encoder's folder."""
        self.set_up()
        self.encoder = models.Encoder.from_pretrained(
            self.view.location, family=self.view.family, dtype=self.arithmetic["dtype"], device=self.device,
            revision=self.view.revision, untrained_seed=self.view.start_seed,
        )  # fmt: skip

    def prepare(self, image: "Image") -> np.ndarray:
        """The library's own preprocessing."""
        return self.encoder.prepare(to_rgb(image)).numpy()

    def compute(self, values: np.ndarray, batch: Batch) -> Rows:
        """One forward."""
        return {self.view.name: self.encoder.embed_prepared(torch.from_numpy(values))}


def make_inverter(view: "View", settings: "Settings", device: torch.device | None = None) -> models.Inverter:
    """The inverter of a noise view, as a recipe's settings want it."""
    device = models.network_device(device)
    s = settled(view, settings, device)
    return models.Inverter.from_pretrained(
        view.location, prompt=s.prompt if s.prompt_column is None else None, dtype=s.dtype or "float32", device=device,
        revision=view.revision, untrained_seed=view.start_seed, pickled=view.pickled, runtime=make_runtime(s),
        **sampling(s),
    )  # fmt: skip


def sampling(settings: "Settings") -> dict[str, Any]:
    """The settings of an inversion, as `Inverter` takes them."""
    names = ("num_inference_steps", "guidance_scale", "negative_prompt", "scheme", "scheme_options", "span")
    return {name: getattr(settings, name) for name in names}


def settled(view: "View", settings: "Settings", device: "torch.device") -> "Settings":
    """The settings, with what a recipe leaves open chosen for one device."""
    accelerated = device.type == "cuda"
    return settings.model_copy(update=choose_arithmetic(view, settings, accelerated=accelerated, device=device))


def make_runtime(settings: "Settings") -> models.Runtime:
    """How networks are run, by settings that are `settled`."""
    return models.Runtime(**{field.name: getattr(settings, field.name) for field in fields(models.Runtime)})


def image_seed(view: str, seed: int, image_id: str) -> int:
    """A seed of 63 bits for the noise that a scheme draws for one image of one view."""
    return digest_number(f"{view}/{seed}/{image_id}", size=8) >> 1


def module_digest(module: Any) -> str:
    """SHA-256 of a diffusers model's weights, dtypes and configuration, wherever they were read from."""
    config = {name: value for name, value in module.config.items() if not name.startswith("_")}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
