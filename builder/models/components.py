"""Read the components of a diffusers folder by the classes its index names; remote code never runs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from noisezoo.errors import UsageError

if TYPE_CHECKING:
    import torch

AUTOENCODER_NAMES = ("vae", "vqvae")
SAFE, PICKLED = "safetensors", "bin"
UNSAID_SCALES = {"VQModel": 1.0}
"""Scale of latents where an autoencoder's own config does not say it: diffusers fills in Stable Diffusion's
0.18215, by which no vector-quantised model was trained (diffusers issue 6725)."""


def read_index(folder: Path) -> dict[str, Any]:
    """The folder's `model_index.json`: component name -> [library, class].

    Raises:
        UsageError: The folder is not a diffusers pipeline.
    """
    path = folder / "model_index.json"
    if not path.is_file():
        raise UsageError(f"{folder} is not a diffusers pipeline: it has no model_index.json")
    try:
        return dict(json.loads(path.read_text()))
    except json.JSONDecodeError as error:
        raise UsageError(f"{path} is not JSON: {error}") from error


def read_scheduler_config(folder: Path) -> dict[str, Any]:
    """The folder's noise schedule, in `scheduler/` or, in repositories of one network, beside the index.

    Raises:
        UsageError: It has none.
    """
    for place in (folder / "scheduler", folder):
        if (place / "scheduler_config.json").is_file():
            return dict(json.loads((place / "scheduler_config.json").read_text()))
    raise UsageError(f"{folder} has no scheduler/scheduler_config.json, so its noise schedule is unknown")


@dataclass(frozen=True)
class Reader:
    """Reads components of one folder."""

    folder: Path
    index: Mapping[str, Any]
    dtype: "torch.dtype"
    pickled: bool

    def first(
        self, names: Sequence[str], *, dtype: "torch.dtype | None" = None, untrained_seed: int | None = None
    ) -> Any:
        """The first of the named components that the index lists, loaded; None where it lists none."""
        name = self._listed(names)
        if name is None:
            return None
        factory = self._class(name)
        place = self._place(name)
        if untrained_seed is not None:
            network = _untrained(factory, place, untrained_seed)
            return network if network.dtype == (dtype or self.dtype) else network.to(dtype or self.dtype)
        try:
            return factory.from_pretrained(place, **self._options(name, place, dtype or self.dtype))
        except (OSError, ValueError, RuntimeError, KeyError, UnpicklingError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UsageError(f"{self.folder}: component {name} cannot be loaded: {reason}") from error

    def scaling(self) -> tuple[float, float]:
        """Scale and shift of the latents, from the autoencoder's config; 1 and 0 in pixel space."""
        name = self._listed(AUTOENCODER_NAMES)
        if name is None:
            return 1.0, 0.0
        said = json.loads((self._place(name) / "config.json").read_text())
        filled_in = signature(self._class(name).__init__).parameters["scaling_factor"].default
        unsaid = UNSAID_SCALES.get(self.index[name][1], filled_in)
        return float(said.get("scaling_factor") or unsaid), float(said.get("shift_factor") or 0.0)

    def _listed(self, names: Sequence[str]) -> str | None:
        return next((name for name in names if (self.index.get(name) or [None])[0] is not None), None)

    def _class(self, name: str) -> Any:
        library, kind = self.index[name]
        if library not in ("diffusers", "transformers") or not hasattr(module := import_module(library), kind):
            raise UsageError(f"{self.folder}: component {name} is a {library}.{kind}, which is not a class we load")
        return getattr(module, kind)

    def _place(self, name: str) -> Path:
        """A component's own folder; in repositories of one network (DDPM's), that network lies beside the index."""
        if (self.folder / name).is_dir():
            return self.folder / name
        config = self.folder / "config.json"
        if config.is_file() and json.loads(config.read_text()).get("_class_name") == self.index[name][1]:
            return self.folder
        raise UsageError(f"{self.folder} lacks its component {name}/: download the whole folder again")

    def _options(self, name: str, place: Path, dtype: "torch.dtype") -> dict[str, Any]:
        if name.startswith("tokenizer"):
            return {}
        return {"torch_dtype": dtype, "use_safetensors": weights_kind(place, self.pickled) == SAFE}


def weights_kind(component: Path, pickled: bool) -> str:
    """How a component's weights are stored, `safetensors` or `bin`; all shards of an index must be there.

    Raises:
        UsageError: There are no weights, a shard is missing, or there are only pickles and those were not asked for.
    """
    for index in component.glob("*.index.json"):
        for shard in sorted(set(json.loads(index.read_text())["weight_map"].values())):
            if not (component / shard).is_file():
                raise UsageError(f"{component} lacks its shard {shard}: download the whole folder again")
    if any(component.glob("*.safetensors")):
        return SAFE
    if not any(component.glob("*.bin")):
        raise UsageError(f"component {component.name} cannot be loaded: {component} holds no weights")
    if not pickled:
        raise UsageError(
            f"component {component.name} cannot be loaded: {component} holds pickled weights only, which are read "
            "where the zoo's row says `pickled`; convert them to safetensors"
        )
    return PICKLED


def _untrained(factory: Any, folder: Path, seed: int) -> Any:
    """The network before training: its configuration, and a random start that the seed fixes."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return factory.from_config(factory.load_config(folder))
