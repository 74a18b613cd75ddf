"""What every training script of the testbed shares: training faces, the loop, checkpoints, EMA and the log."""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, DiffusionPipeline
from tqdm import tqdm

from noisezoo.builder.sources.faces import FIRST_TRAINING_FACE
from noisezoo.builder.sources.faces.factors import Factors, face_factors
from noisezoo.builder.sources.faces.render import render

TESTBED = Path(__file__).resolve().parent.parent / "noisezoo" / "testbed"
RUNS = Path(__file__).resolve().parent.parent / "build" / "testbed"


def face_batch(step: int, batch_size: int, *, stream: int) -> tuple[torch.Tensor, Factors]:
    """Fresh training faces for one step, never shown twice: ((b, 3, 32, 32) float32 in [-1, 1], their factors).

    `stream` keeps the faces of different models apart; all lie above `FIRST_TRAINING_FACE`, where no dataset reaches.
    """
    factors = training_factors(step, batch_size, stream)
    return to_signed(render(factors)), factors


def training_factors(step: int, batch_size: int, stream: int) -> Factors:
    """The factors of the faces that `face_batch` draws."""
    start = FIRST_TRAINING_FACE + stream * 100_000_000 + step * batch_size
    return face_factors(range(start, start + batch_size))


def to_signed(pixels: np.ndarray) -> torch.Tensor:
    """(b, h, w, 3) uint8 -> (b, 3, h, w) float32 in [-1, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1


def read_options(about: str | None, *, steps: int, seed: int) -> argparse.Namespace:
    """What the command line says of a training: its steps, its seed, its device and the name of its run.

    The seed decides the random start and every draw. Another seed than the recorded one is another training: it has a
    name of its own, `NAME-seedS`, and does not replace what ships.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--seed", type=int, default=seed)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def run_name(name: str, seed: int, recorded: int) -> str:
    """The name of a training: the model's own for the recorded seed."""
    return name if seed == recorded else f"{name}-seed{seed}"


@dataclass
class Training:
    """One run: `loss(step)` is called until `steps`; `model`'s weights are averaged (EMA); a kill loses minutes."""

    name: str
    model: torch.nn.Module
    loss: Callable[[int], torch.Tensor]
    steps: int
    lr: float = 1e-3
    warmup: int = 200
    decay_share: float = 0.3  # the last share of steps, over which the rate falls linearly to 0
    ema_decay: float = 0.999
    weight_decay: float = 0.01
    seed: int = 0
    device: str = "cpu"
    sample: Callable[[torch.nn.Module, int], None] | None = None
    every: int = 1000
    curve: list[tuple[int, float]] = field(default_factory=list)

    def run(self) -> torch.nn.Module:
        """Train to the end (from the last checkpoint where there is one) and return the averaged model."""
        self.model.to(self.device)
        self.ema = deepcopy(self.model).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        started, running = time.monotonic(), 0.0
        for step in tqdm(self._remaining(), desc=self.name, mininterval=20, unit="step"):
            torch.manual_seed(self.seed * 1_000_003 + step)  # noise and times depend on the step, not on interruptions
            value = self._step(step)
            running = value if running == 0.0 else 0.98 * running + 0.02 * value
            if (step + 1) % 50 == 0:
                self.curve.append((step + 1, round(running, 5)))
            if (step + 1) % self.every == 0 or step + 1 == self.steps:
                self._save(step + 1)
                print(f"{self.name} step {step + 1} loss {running:.5f} {time.monotonic() - started:.0f} s", flush=True)
        return self.ema.eval().cpu()

    def _step(self, step: int) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * self._rate(step)
        loss = self.loss(step)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        decay = min(self.ema_decay, (step + 1) / (step + 10))
        with torch.no_grad():
            for average, weight in zip(self.ema.parameters(), self.model.parameters(), strict=True):
                average.lerp_(weight, 1 - decay)
        return float(loss.detach())

    def _rate(self, step: int) -> float:
        left = (self.steps - step) / max(1.0, self.steps * self.decay_share)
        return min(1.0, (step + 1) / self.warmup, left)

    def _remaining(self) -> Iterator[int] | range:
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return range(self.steps)
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.curve = [tuple(point) for point in state["curve"]]
        return range(state["step"], self.steps)

    @property
    def folder(self) -> Path:
        """Where the checkpoint and the intermediate samples live."""
        folder = RUNS / self.name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _save(self, step: int) -> None:
        state = {"step": step, "model": self.model.state_dict(), "ema": self.ema.state_dict(),
                 "optimizer": self.optimizer.state_dict(), "curve": self.curve}  # fmt: skip
        temporary = self.folder / "checkpoint.tmp"
        torch.save(state, temporary)
        temporary.replace(self.folder / "checkpoint.pt")
        (self.folder / "curve.json").write_text(json.dumps(self.curve))
        if self.sample:
            self.sample(deepcopy(self.ema).eval().cpu(), step)


def diffusion_loss(
    unet: torch.nn.Module, alphas_cumprod: torch.Tensor, clean: torch.Tensor, device: str = "cpu"
) -> torch.Tensor:
    """Mean squared error of v = sqrt(abar) eps - sqrt(1 - abar) x0 (Salimans & Ho 2022), times stratified.

    All draws are made on the CPU, so that a network on another device is trained on the same ones.
    """
    b = len(clean)
    uniform = (torch.arange(b) + torch.rand(b)) / b
    t = (uniform * len(alphas_cumprod)).long().clamp(max=len(alphas_cumprod) - 1)
    abar = alphas_cumprod[t].view(b, 1, 1, 1)
    noise = torch.randn_like(clean)
    noisy = abar.sqrt() * clean + (1 - abar).sqrt() * noise
    target = abar.sqrt() * noise - (1 - abar).sqrt() * clean
    return (unet(noisy.to(device), t.to(device)).sample - target.to(device)).pow(2).mean()


def make_scheduler() -> DDIMScheduler:
    """The linear schedule of DDPM (Ho et al. 2020) with v-prediction; nothing is clipped, so DDIM can be inverted."""
    return DDIMScheduler(beta_schedule="linear", prediction_type="v_prediction", clip_sample=False)


def sample(pipe: DiffusionPipeline, n: int, seed: int = 0) -> torch.Tensor:
    """Pictures of 50 DDIM steps: (n, c, h, w) in [-1, 1]."""
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(seed)
    images = pipe(batch_size=n, generator=generator, num_inference_steps=50, output_type="np").images
    return torch.from_numpy(images).permute(0, 3, 1, 2) * 2 - 1


def save_grid(images: torch.Tensor, path: Path, columns: int = 16) -> None:
    """Write (b, c, h, w) pictures in [-1, 1] as one PNG, enlarged three times."""
    from PIL import Image

    b, c, h, w = images.shape
    rows = math.ceil(b / columns)
    sheet = torch.full((rows * columns, 3, h, w), -1.0)
    sheet[:b] = images.expand(b, 3, h, w)
    sheet = sheet.view(rows, columns, 3, h, w).permute(0, 3, 1, 4, 2).reshape(rows * h, columns * w, 3)
    pixels = ((sheet.clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
    Image.fromarray(pixels).resize((columns * w * 3, rows * h * 3), Image.Resampling.NEAREST).save(path)


def finish(name: str, card: dict[str, Any]) -> Path:
    """The folder of the trained model, with its training figures beside it as `training.json`.

    A model that ships has its own in the package; another training of it lies in its run's folder.
    """
    folder = RUNS / name / "model" if "-seed" in name else TESTBED / name
    folder.mkdir(parents=True, exist_ok=True)
    curve = RUNS / name / "curve.json"
    figures = {**card, "curve": json.loads(curve.read_text()) if curve.exists() else []}
    (folder / "training.json").write_text(json.dumps(figures, indent=1) + "\n")
    return folder
