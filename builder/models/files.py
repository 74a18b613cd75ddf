"""Where a model's files come from: a local folder, or a snapshot of a Hub repository with only what its family needs.

Remote code never comes along (no family asks for `*.py`), and pickles only where a row says that there is nothing else.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisezoo.errors import UsageError
from noisezoo.zoo import View, is_path

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

__all__ = ["check_access", "commit_of", "is_path", "pin", "resolve"]

COMMIT = re.compile(r"[0-9a-f]{40}")
AUTOENCODERS = ("vae", "vqvae")
DENOISERS = ("unet", "transformer")
TOWERS = ("text_encoder*", "tokenizer*")


@dataclass(frozen=True)
class Layout:
    """What a family's repository holds.

    Attributes:
        mark: The file without which it is not of this family.
        texts: Patterns of configurations and vocabularies.
        weights: Patterns of weights, without their suffix.
    """

    mark: str
    texts: tuple[str, ...]
    weights: tuple[str, ...]

    def selection(self, pickled: bool) -> dict[str, Any]:
        """Arguments of `snapshot_download`: half-precision copies and non-averaged weights stay where they are."""
        suffixes = (".safetensors", ".bin") if pickled else (".safetensors",)
        weights = [pattern + suffix for pattern in self.weights for suffix in suffixes]
        return {"allow_patterns": [self.mark, *self.texts, *weights], "ignore_patterns": ["*fp16*", "*non_ema*"]}


def _components(*names: str) -> Layout:
    """A diffusers pipeline, or a part of it. Old unconditional ones keep network and schedule at the top level.

    Nothing else is taken from the top level, where many repositories keep the same weights again in a single file.
    """
    texts = [f"{name}/*.{suffix}" for name in (*names, "scheduler") for suffix in ("json", "txt", "model")]
    weights = [f"{name}/*" for name in names if "tokenizer" not in name]
    top = ("config.json", "scheduler_config.json")
    return Layout("model_index.json", (*top, *texts), ("diffusion_pytorch_model*", *weights))


LAYOUTS: Mapping[str, Layout] = {
    "diffusers": _components(*DENOISERS, *AUTOENCODERS, *TOWERS),
    "vae": _components(*AUTOENCODERS),
    "open_clip": Layout("open_clip_config.json", ("*.txt", "vocab.json", "*token*.json"), ("open_clip*",)),
    "timm": Layout("config.json", (), ("model", "pytorch_model")),
    "transformers": Layout("config.json", ("*.json", "*.txt"), ("model*", "pytorch_model*")),
}


def resolve(
    folder_or_hub_id: str | Path, revision: str | None = None, *, family: str = "diffusers", pickled: bool = False
) -> Path:
    """The local folder of a model: itself, or a snapshot of the files its family needs.

    Args:
        folder_or_hub_id: A folder, or a Hub id.
        revision: Branch, tag or commit on the Hub.
        family: A key of `LAYOUTS`.
        pickled: Take `.bin` files too.

    Raises:
        UsageError: There is neither such a folder nor such a repository, it is gated and access is not granted, or it
            holds pickles alone and they were not asked for.
    """
    if isinstance(folder_or_hub_id, Path) or is_path(folder_or_hub_id) or Path(folder_or_hub_id).is_dir():
        return _local(Path(folder_or_hub_id).expanduser())
    folder = _snapshot(folder_or_hub_id, revision, family, pickled)
    if not _has_weights(folder, family, pickled):
        raise UsageError(
            f"{folder_or_hub_id} holds no safetensors of a {family} model; if it holds .bin pickles and you trust "
            "their maker, say `pickled: true` in its row"
        )
    return folder


def check_access(view: View) -> None:
    """Refuse, before any work, a view whose model cannot be had; a complete snapshot in the cache is enough.

    Raises:
        UsageError: The folder or the repository is missing, gated or out of reach; says how to get access.
    """
    if not view.repo:
        return
    if view.folder is not None:
        _check_folder(view, view.folder)
    elif _cached(view) is None:
        _head(view)


def commit_of(view: View) -> str | None:
    """The commit on the Hub that a view's numbers come from: its pin, or where its branch stands now.

    Returns:
        40 hexadecimal digits; None for a model that is not on the Hub.

    Raises:
        UsageError: The branch is neither in the cache nor within reach.
    """
    if not view.repo or view.folder is not None:
        return None
    if view.revision is not None and COMMIT.fullmatch(view.revision):
        return view.revision
    try:
        return _head(view).commit_hash
    except UsageError:
        if (folder := _cached(view)) is None:
            raise
        return folder.name


def pin(view: View, commits: Mapping[str, str]) -> View:
    """The row at one commit: the one that is known for it, or where its branch stands now.

    A branch may move between two processes of a build; what the first found is what all of them read.
    """
    commit = commits.get(view.name) or commit_of(view)
    return view if commit is None else replace(view, revision=commit)


def _local(folder: Path) -> Path:
    if not folder.is_dir():
        raise UsageError(f"there is no model folder {folder}")
    return folder


def _check_folder(view: View, folder: Path) -> None:
    if folder.is_dir():
        return
    mend = f"give another by --folder {view.name}=PATH" if is_path(view.repo) else "reinstall noisezoo"
    raise UsageError(f"view {view.name}: its model folder {folder} is missing: {mend}")


def _has_weights(folder: Path, family: str, pickled: bool) -> bool:
    suffixes = (".safetensors", ".bin") if pickled else (".safetensors",)
    return any(path.suffix in suffixes for path in folder.rglob("*")) and (folder / LAYOUTS[family].mark).is_file()


def _cached(view: View) -> Path | None:
    """The snapshot in the cache, if it has all that the family needs."""
    try:
        folder = _snapshot(view.repo, view.revision, view.family, view.pickled, local_files_only=True)
    except UsageError:
        return None
    return folder if _has_weights(folder, view.family, view.pickled) else None


def _snapshot(repo: str, revision: str | None, family: str, pickled: bool, **options: Any) -> Path:
    from huggingface_hub import snapshot_download

    if family not in LAYOUTS:
        raise UsageError(f"unknown family {family!r}; choose one of: {', '.join(LAYOUTS)}")
    try:
        return Path(snapshot_download(repo, revision=revision, **LAYOUTS[family].selection(pickled), **options))
    except _faults() as error:
        raise UsageError(_reason(error, repo, revision, family)) from error


def _head(view: View) -> "HfFileMetadata":
    """What the Hub says of the family's first file, without fetching it: gated and missing show here."""
    from huggingface_hub import get_hf_file_metadata, get_token, hf_hub_url
    from huggingface_hub.errors import GatedRepoError

    try:
        url = hf_hub_url(view.repo, LAYOUTS[view.family].mark, revision=view.revision)
        return get_hf_file_metadata(url, token=get_token())
    except _faults() as error:
        reason = _reason(error, view.repo, view.revision, view.family)
        if view.gated and not isinstance(error, GatedRepoError):
            reason += f"; it is gated: accept its licence on its page ({view.repo}) and run `hf auth login`"
        raise UsageError(f"view {view.name}: {reason}, or give a local folder: --folder {view.name}=PATH") from error


def _faults() -> tuple[type[Exception], ...]:
    """What the Hub's client raises: answers, refused connections and time-outs, and ids that cannot be one."""
    from huggingface_hub import errors

    transport: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]
    return transport, OSError, ValueError


def _reason(error: Exception, repo: str, revision: str | None, family: str) -> str:
    """One line that names the fault and its mend; the narrower kinds of error come first."""
    from huggingface_hub import constants, errors

    page = f"{constants.ENDPOINT}/{repo}"
    faults: tuple[tuple[type[Exception], str], ...] = (
        (errors.GatedRepoError, f"{repo} is gated: accept its licence at {page} and run `hf auth login`"),
        (errors.RevisionNotFoundError, f"{repo} has no revision {revision}: name one that {page} shows"),
        (errors.RemoteEntryNotFoundError, f"{repo} is no {family} model: it has no {LAYOUTS[family].mark}"),
        (errors.RepositoryNotFoundError,
         f"{repo} is not on the Hub, or it is private: look for it at {page}, or run `hf auth login`"),
        (errors.HFValidationError, f"{repo} is neither a folder nor a Hub id"),
    )  # fmt: skip
    told = next((text for kind, text in faults if isinstance(error, kind)), None)
    if told is not None:
        return told
    said = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0].rstrip(".")
    return f"{repo} is neither a folder nor a model that can be reached ({said}): go online once to fetch it"
