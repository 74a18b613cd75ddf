"""Pictures of known noise: the source `generated:VIEW`, and the noise that they were made of: the view `VIEW-true`."""

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisezoo import zoo
from noisezoo.builder.sources import Source, open_source
from noisezoo.errors import NoiseZooError, UsageError
from noisezoo.files import committed
from noisezoo.schema import ID
from .computer import Batch, Computer, Rows, gaussian_of
from .judge import Classifier, Probes

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features
    from PIL.Image import Image

    from noisezoo.builder.models import Inverter

BLOCK = 16  # pictures that are made together, always the same ones: a picture's last bits may depend on its batch
HELD = 8  # blocks that a process keeps in memory


def true_noise(image_id: str, shape: tuple[int, ...]) -> np.ndarray:
    """x_T of a generated picture, (c, h, w) float16: a Gaussian that its id decides, rounded as it is stored."""
    return gaussian_of(f"true noise/{image_id}", shape).astype(np.float16)


class TrueNoiseComputer(Computer):
    """The noise that generated pictures were made of, by their ids."""

    def prepare(self, image: "Image") -> np.ndarray:
        """Nothing of the picture is used."""
        return np.empty(0, np.float32)

    def compute(self, values: np.ndarray, batch: Batch) -> Rows:
        """One draw an id; raises UsageError for pictures that are not of the source `generated:VIEW`."""
        maker = self.view.name.removesuffix(zoo.TRUE)
        if not all(image_id.startswith(f"{maker}-seed") for image_id in batch.ids):
            raise UsageError(f"view {self.view.name}: only pictures of the source generated:{maker} have a known noise")
        return {self.view.name: np.stack([true_noise(image_id, self.view.shape) for image_id in batch.ids])}


@dataclass
class Generated(Source):
    """Pictures that a noise view's own sampler makes of seeded noise x_T ~ N(0, I).

    The labels are what a judge sees: a logistic probe for each label of a source of real pictures, or a classifier.

    Args:
        view: The noise view.
        count: How many pictures there are.
        seed: Which noise.
        num_inference_steps: Steps of the sampler.
        scheme: The scheme whose sampler it is; one that needs no state beside x_T.
        guidance_scale: Classifier-free guidance scale.
        prompts: The prompts, which the pictures take in turns; they are then the label column `prompt`.
        real: The source of real pictures whose labels the judge learns.
        real_options: That source's options.
        judge: An encoder whose embeddings the judge reads; by default it reads the pixels.
        classifier: `module:function` in the place of a judge: pictures -> label -> yes or no for each.
        judged: The judge's hits on real pictures that it did not learn; counted by the scan and frozen with it.
    """

    name = "generated"

    view: str = ""
    count: int = 1000
    seed: int = 0
    num_inference_steps: int = 50
    scheme: str = "ddim"
    guidance_scale: float = 3.5
    prompts: Sequence[str] = ()
    real: str | None = None
    real_options: dict[str, Any] = field(default_factory=dict)
    judge: str | None = None
    classifier: str | None = None
    judged: dict[str, dict[str, int]] | None = None

    def __post_init__(self) -> None:
        if not self.view:
            raise UsageError("generated needs a noise view, as in generated:digits-ddpm")
        self.row = zoo.get(self.view)
        if self.row.family != "diffusers":
            raise UsageError(f"generated:{self.view}: {self.row.about} makes no pictures: name a noise view")
        if (self.real is None) == (self.classifier is None):
            raise UsageError(f"generated:{self.view} needs labels: set one of its options real and classifier")
        if self.count < 1:
            raise UsageError(f"generated:{self.view} of {self.count} pictures: give a count of 1 or more")
        self.license, self.counts = self.row.license, {"": self.count}  # the splits are hashed
        self.folders: Mapping[str, str] = {}
        self._lock = threading.RLock()
        self._held: dict[int, np.ndarray] = {}

    def image_id(self, number: int) -> str:
        """The id of a picture, which decides its noise."""
        return f"{self.view}-seed{self.seed}-{number:07d}"

    def use_folders(self, folders: Mapping[str, str]) -> None:
        """Make the pictures, and judge them, by the models in these folders."""
        self.row, self.folders = zoo.at_folder(self.row, folders.get(self.view)), folders

    def scan(self) -> "pa.Table":
        """All pictures, made now where they are not kept from before, with their labels."""
        import pyarrow as pa

        numbers = range(self.count)
        columns: dict[str, Any] = {ID: [self.image_id(k) for k in numbers], "key": [str(k) for k in numbers]}
        prompt = {"prompt": [self.prompts[k % len(self.prompts)] for k in numbers]} if self.prompts else {}
        return pa.table(columns | self._labels | prompt)

    def label_features(self) -> "Features":
        """The labels of the real source that are yes or no, or classes; or the classifier's; and the prompt."""
        from datasets import Features, Value

        return Features(self._judge.features() | ({"prompt": Value("string")} if self.prompts else {}))

    def content(self, key: str) -> bytes:
        """The pixels of one picture: (side, side, 3) uint8."""
        return bytes(self._block(int(key) // BLOCK)[int(key) % BLOCK])

    def decode(self, content: bytes) -> "Image":
        """The picture of these pixels."""
        from PIL import Image

        return Image.frombytes("RGB", (self.row.resolution, self.row.resolution), content)

    def pinned(self) -> dict[str, Any]:
        """How well the judge did, for whoever reads the labels later."""
        return {} if self.judged is None else {"judged": self.judged}

    def options(self) -> dict[str, Any]:
        """The options that decide the pictures and their labels."""
        return {name: value for name, value in super().options().items() if name != "judged"}

    def _block(self, index: int) -> np.ndarray:
        """Pictures made together, (BLOCK, side, side, 3) uint8, in memory, on disk, or made now."""
        with self._lock:
            if index not in self._held:
                while len(self._held) >= HELD:
                    del self._held[next(iter(self._held))]
                path = self._folder / f"{index:06d}.npy"
                if not path.exists():
                    with committed(path) as temporary, temporary.open("wb") as file:
                        np.save(file, self._make(range(index * BLOCK, (index + 1) * BLOCK)))
                self._held[index] = np.load(path)
            return self._held[index]

    def _make(self, numbers: range) -> np.ndarray:
        """Sample: on one thread, as the number of threads changes sums."""
        import torch

        noise = np.stack([true_noise(self.image_id(k), self.row.shape) for k in numbers]).astype(np.float32)
        prompts = [self.prompts[k % len(self.prompts)] for k in numbers] if self.prompts else None
        with ExitStack() as stack:
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(1)
            images = self._inverter.generate(torch.from_numpy(noise), prompts=prompts).cpu().numpy()
        if not np.isfinite(images).all():
            raise NoiseZooError(f"generated:{self.view}: the model makes pictures that are not finite")
        return np.asarray(np.round((np.clip(images, -1, 1) + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1))

    @cached_property
    def _inverter(self) -> "Inverter":
        from noisezoo.builder.models import Inverter

        row = self.row
        made = Inverter.from_pretrained(
            row.location, num_inference_steps=self.num_inference_steps, guidance_scale=self.guidance_scale,
            scheme=self.scheme, revision=row.revision, untrained_seed=row.start_seed, pickled=row.pickled,
        )  # fmt: skip
        if made.scheme.keeps_previous:
            raise UsageError(f"generated:{self.view}: the sampler of scheme {self.scheme} needs more than x_T")
        return made

    @cached_property
    def _folder(self) -> Path:
        """Where pictures are kept between processes: beside what was downloaded, by all that decides them."""
        from huggingface_hub import constants

        from noisezoo.builder.models import model_files

        model = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in model_files(self.row)]
        sampled = (self.seed, self.num_inference_steps, self.scheme, self.guidance_scale, list(self.prompts))
        text = json.dumps([self.row.name, self.row.repo, self.row.revision, self.row.shape, model, sampled])
        return Path(constants.HF_HOME) / "noisezoo" / "generated" / hashlib.sha256(text.encode()).hexdigest()[:32]

    @cached_property
    def _judge(self) -> Classifier | Probes:
        if self.real is None:
            return Classifier(str(self.classifier), self.row.resolution)
        encoder = None if self.judge is None else zoo.at_folder(zoo.get(self.judge), self.folders.get(self.judge))
        return Probes(open_source(self.real, self.real_options), self.real, encoder, self.row.resolution)

    @cached_property
    def _labels(self) -> dict[str, np.ndarray]:
        """What the judge sees in each picture."""
        blocks = (range(start, min(start + BLOCK, self.count)) for start in range(0, self.count, BLOCK))
        seen = [self._judge.see([self.picture(str(k)) for k in block]) for block in blocks]
        self.judged = self._judge.counts
        return {name: np.concatenate([each[name] for each in seen]) for name in seen[0]}
