"""What an edit keeps and what it changes: PIE-Bench's own measures, computed as its authors do.

Ju et al., PnP Inversion (ICLR 2024). Pictures are (b, 3, h, w) float32 in [-1, 1], masks (b, h, w) bool, True where the
picture is to be edited. What is outside the mask is compared with the inside black in both pictures, over all pixels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from noisezoo import zoo
from noisezoo.errors import UsageError
from .quality import gaussian_ssim, lpips, mse, psnr

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from noisezoo.builder.models import Encoder

SIDE = 224  # side of the pictures that the structure distance compares
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
KEYS = ("k_proj", "key", "qkv")
"""Last parts of the names of modules whose output is, or holds in its middle third, an attention's keys."""
DINO, CLIP = "dino-vit-b8", "clip-vit-l14"


@dataclass(frozen=True)
class Edits:
    """A batch of pictures, given and edited, with masks and the prompts that the edits should follow."""

    given: "Tensor"
    edited: "Tensor"
    masks: "Tensor"
    prompts: Sequence[str]

    def of_outside(self, measure: "Callable[[Tensor, Tensor], Tensor]") -> "Tensor":
        """A measure of the edited and the given pictures, black inside the mask; NaN where a mask covers all."""
        outside = (each.masked_fill(self.masks[:, None], -1.0) for each in (self.edited, self.given))
        return measure(*outside).float().masked_fill(self.masks.flatten(1).all(dim=1), float("nan"))


class Structure:
    """Distance of self-similarities (Tumanyan et al., Splicing ViT Features, CVPR 2022) of an encoder's last keys.

    The cosine of every two tokens' keys, all heads together, in each picture; the mean squared difference of the two.
    As in the authors' code the values 0 to 255 are normalised by ImageNet's mean and deviation of values 0 to 1, and
    pictures are resized without antialiasing.
    """

    def __init__(self, encoder: "Encoder") -> None:
        self.encoder = encoder
        places = [each for each in encoder.model.named_modules() if each[0].rpartition(".")[2] in KEYS]
        if not places:
            raise UsageError(f"{type(encoder.model).__name__} has no attention whose keys are known: {', '.join(KEYS)}")
        (name, self._place) = places[-1]
        self._fused = name.endswith("qkv")

    def __call__(self, images: "Tensor", reference: "Tensor") -> "Tensor":
        """(b,) float64."""
        a, b = (self._similarity(each) for each in (images, reference))
        distance: Tensor = (a - b).pow(2).flatten(1).mean(dim=1)
        return distance

    def _similarity(self, images: "Tensor") -> "Tensor":
        """(b, tokens, tokens) float64."""
        import torch
        from torch.nn.functional import interpolate, normalize

        held: list[Tensor] = []
        mean, deviation = (torch.tensor(each, device=images.device).view(3, 1, 1) for each in IMAGENET)
        pixels = interpolate((images + 1) * 127.5, size=(SIDE, SIDE), mode="bilinear", antialias=False)
        handle = self._place.register_forward_hook(lambda module, given, output: held.append(output))
        try:
            self.encoder.embed_prepared((pixels - mean) / deviation)
        finally:
            handle.remove()
        keys = held[0].chunk(3, dim=-1)[1] if self._fused else held[0]  # (b, tokens, d)
        unit = normalize(keys.double(), dim=-1)
        return unit @ unit.transpose(1, 2)


class ClipScore:
    """100 times the cosine of a picture and its prompt, 0 where it is negative (Hessel et al. 2021), by open_clip."""

    def __init__(self, view: zoo.View, device: "torch.device | str") -> None:
        import open_clip

        from noisezoo.builder.models import resolve

        if view.family != "open_clip":
            raise UsageError(
                f"view {view.name}: prompts are compared with pictures by an open_clip model, such as {CLIP}"
            )
        folder = f"local-dir:{resolve(view.location, view.revision, family=view.family)}"
        self.model, _, self.preprocess = open_clip.create_model_and_transforms(folder)
        self.tokenize, self.device = open_clip.get_tokenizer(folder), device
        self.model.eval().to(device)

    def __call__(self, images: "Tensor", prompts: Sequence[str]) -> "Tensor":
        """(b,) float32."""
        import torch
        from PIL.Image import fromarray

        pixels = ((images + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        with torch.inference_mode():
            prepared = torch.stack([self.preprocess(fromarray(each)) for each in pixels]).to(self.device)
            seen = self.model.encode_image(prepared, normalize=True)
            said = self.model.encode_text(self.tokenize(list(prompts)).to(self.device), normalize=True)
        score: Tensor = 100 * (seen * said).sum(dim=1).clamp(min=0)
        return score


Measure = Callable[[Edits], "Tensor"]
OUTSIDE: Mapping[str, Callable[["Tensor", "Tensor"], "Tensor"]] = {
    "psnr": psnr, "lpips": partial(lpips, net="squeeze"), "mse": mse, "ssim": gaussian_ssim,
}  # fmt: skip
MEASURES = ("structure", *OUTSIDE, "clip_whole", "clip_edited")  # in the order of the benchmark's table
EDIT_TITLES = {"structure": ("structure", 1e3), "psnr": ("PSNR", 1), "lpips": ("LPIPS", 1e3), "mse": ("MSE", 1e4),
          "ssim": ("SSIM", 1e2), "clip_whole": ("CLIP whole", 1), "clip_edited": ("CLIP edited", 1)}  # fmt: skip
"""Measure -> its heading, and by what the benchmark's tables multiply it."""


def encoders_of(names: Sequence[str]) -> list[str]:
    """The zoo's rows that some measures read; raises UsageError for one unknown, or whose package is not there."""
    unknown = [name for name in names if name not in MEASURES]
    if unknown:
        raise UsageError(f"no measure {unknown[0]!r}; choose of: {', '.join(MEASURES)}")
    if "lpips" in names and find_spec("lpips") is None:
        raise UsageError("the measure lpips needs a package: `pip install lpips`, or leave it out")
    wanted = {DINO: "structure" in names, CLIP: any(name.startswith("clip") for name in names)}
    return [row for row, is_read in wanted.items() if is_read]


def make_measures(
    names: Sequence[str], rows: Mapping[str, zoo.View], device: "torch.device | str"
) -> dict[str, Measure]:
    """Name, of `MEASURES`, -> the measure of a batch of edits, (b,).

    Those of what is outside are NaN where a mask covers all. `rows` are those of `encoders_of`, local folders in place.
    """
    from noisezoo.builder.models import Encoder

    made: dict[str, Measure] = {name: partial(Edits.of_outside, measure=each) for name, each in OUTSIDE.items()}
    if DINO in rows:
        row = rows[DINO]
        structure = Structure(
            Encoder.from_pretrained(row.location, family=row.family, revision=row.revision, device=device)
        )
        made["structure"] = lambda edits: structure(edits.edited, edits.given)
    if CLIP in rows:
        clip = ClipScore(rows[CLIP], device)
        made["clip_whole"] = lambda edits: clip(edits.edited, edits.prompts)
        made["clip_edited"] = lambda edits: clip(edits.edited.masked_fill(~edits.masks[:, None], -1.0), edits.prompts)
    return {name: made[name] for name in names}
