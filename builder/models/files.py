"""The files of a model: one function tells which ones a row needs; download, check, fingerprint, plan and load use it.

Only configurations, vocabularies and safetensors weights are needed: never code (nothing asks for `*.py`), and pickles
only where a row says that there is nothing else.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from noisezoo import files, zoo
from noisezoo.errors import NoiseZooError, UsageError
from noisezoo.hub import READ, explained
from noisezoo.plugins import load_package
from noisezoo.zoo import View, is_path

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

COMMIT = re.compile(r"[0-9a-f]{40}")
POINTER, POINTER_BYTES = b"version https://git-lfs", 1024  # how a git-lfs pointer begins, and more bytes than it has
DENOISERS, AUTOENCODERS = ("unet", "transformer"), ("vae", "vqvae")
TOWERS = tuple(f"{part}{number}" for part in ("tokenizer", "text_encoder") for number in ("", "_2", "_3"))


@dataclass(frozen=True)
class Layout:
    """Where a family of models keeps its files."""

    TABLE: ClassVar[dict[str, "Layout"]] = {}  # family -> its layout
    mark: str  # the file without which a folder is not of this family
    key: str = ""  # a key that the mark has, where other families have a file of that name
    texts: tuple[str, ...] = ()  # patterns of configurations and vocabularies
    weights: tuple[str, ...] = ("model",)
    """Names that the weights may have, without `.safetensors`, the preferred one first."""
    components: tuple[str, ...] = ()
    """Of a diffusers pipeline: the components that are read, where its index (the mark) names them."""


for _family, _components in (("diffusers", (*DENOISERS, *AUTOENCODERS, *TOWERS)), ("vae", AUTOENCODERS)):
    Layout.TABLE[_family] = Layout(
        "model_index.json", "", ("*.json", "*.txt", "*.model"), ("diffusion_pytorch_model", "model"), _components
    )


@dataclass(frozen=True)
class Listing:
    """The files of a folder or of a repository on the Hub."""

    place: str  # the folder or the Hub id, for messages
    names: frozenset[str]  # paths of all files, from the root
    fetch: Callable[[Sequence[str]], Path]  # paths -> the folder where these files can be read

    @classmethod
    def of(cls, folder: Path) -> "Listing":
        """The files of a local folder and of its sub-folders, which may be links."""
        paths = [path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.is_file()]
        return cls(str(folder), frozenset(path.relative_to(folder).as_posix() for path in paths), lambda names: folder)

    def read(self, name: str) -> dict[str, Any]:
        """The JSON object that a file holds."""
        return read_json(self.fetch([name]) / name)

    def matching(self, component: str, patterns: Sequence[str]) -> list[str]:
        """Names in a component's folder ("" or "NAME/") that match a pattern, without the lists of shards."""
        own = [name for name in self.names if name.startswith(component) and name.count("/") == component.count("/")]
        return [n for n in own if ".index." not in n and any(fnmatchcase(n, component + each) for each in patterns)]

    def component(self, name: str) -> str:
        """The folder of a pipeline's component, "NAME/"; "" where its network lies beside the index (DDPM's)."""
        if any(path.startswith(f"{name}/") for path in self.names):
            return f"{name}/"
        if name in DENOISERS and "config.json" in self.names:
            return ""
        raise UsageError(f"{self.place} lacks its component {name}/: download the whole folder again")

    def weights(self, component: str, stems: Sequence[str], pickled: bool | None) -> list[str]:
        """Names of a network's weights in a component's folder: one file, or the shards that an index lists, after it.

        They may have any of the `stems`, the preferred one first. `pickled` says whether `.bin` will do where there are
        no safetensors; None: it never does. Raises UsageError where none may be read, or a shard is missing.
        """
        safe = [f"{component}{stem}.safetensors" for stem in stems]
        pickles = [f"{component}{'pytorch_model' if stem == 'model' else stem}.bin" for stem in stems]
        for name in (*safe, *pickles) if pickled else safe:
            if name in self.names:
                return [name]
            if (index := f"{name}.index.json") in self.names:
                shards = sorted({f"{component}{shard}" for shard in self.read(index).get("weight_map", {}).values()})
                if missing := sorted(set(shards) - self.names):
                    raise UsageError(f"{self.place} lacks {missing[0]}, which {index} lists: download it again")
                return [index, *shards]
        raise UsageError(self._no_weights(component, safe, pickled))

    def _no_weights(self, component: str, safe: Sequence[str], pickled: bool | None) -> str:
        fault = f"{self.place} holds no weights in safetensors: it lacks {' or '.join(safe)}"
        own = sorted(name for name in self.names if name.startswith(component))
        half = next((name for name in own if ".fp16" in name and name.endswith(".safetensors")), None)
        pickle = next((name for name in own if name.endswith(".bin")), None)
        if half is not None:
            return f"{fault}; in a copy of the folder, rename {half} to {half.replace('.fp16', '')}"
        if pickle is None or pickled:
            return f"{fault}; download it again"
        said = "" if pickled is None else ", or say `pickled: true` in its row if you trust its maker"
        return f"{fault}; convert {pickle} to safetensors{said}"


def layout_of(family: str) -> Layout:
    """The layout of a family; raises UsageError where there is no such family."""
    load_package("noisezoo.builder.models.encoders")
    if family not in Layout.TABLE:
        raise UsageError(f"unknown family {family!r}; choose one of: {', '.join(Layout.TABLE)}")
    return Layout.TABLE[family]


def needed(
    listing: Listing, family: str, pickled: bool = False, untrained: bool = False, texts: bool = True
) -> list[str]:
    """Names of the files that a model of a family needs, sorted: configurations, vocabularies and weights.

    `pickled` lets `.bin` weights do where there are no safetensors; the denoiser of an `untrained` pipeline starts from
    a seed, so that its weights are not needed; nor are those of its text towers without `texts`. Raises UsageError
    where the files are not a whole model of this family.
    """
    layout = layout_of(family)
    if layout.mark not in listing.names:
        raise UsageError(f"{listing.place} is no {family} model: it has no {layout.mark}")
    if not layout.components:
        return sorted({layout.mark, *listing.matching("", layout.texts),
                       *listing.weights("", layout.weights, None)})  # fmt: skip
    found = {layout.mark, *listing.matching("", ("config.json", "scheduler_config.json"))}
    found.update(listing.matching("scheduler/", layout.texts))
    for name in listed(listing.read(layout.mark), layout.components):
        component = listing.component(name)
        found.update(listing.matching(component, layout.texts) if component else ())
        unread = "tokenizer" if texts else ("tokenizer", "text_encoder")
        if not (name.startswith(unread) or (untrained and name in DENOISERS)):
            found.update(listing.weights(component, layout.weights, pickled))
    return sorted(found)


def listed(index: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Those of the named components that a pipeline's index has: entries of [null, null] stand for none."""
    return [name for name in names if (index.get(name) or [None])[0] is not None]


def local_files(
    folder: Path, family: str, pickled: bool = False, untrained: bool = False, texts: bool = True
) -> list[str]:
    """What is `needed` of a local folder; raises UsageError also where a file is git-lfs's pointer to the real one."""
    names = needed(Listing.of(folder), family, pickled, untrained, texts)
    for path in (folder / name for name in names):
        if path.stat().st_size < POINTER_BYTES and path.read_bytes().startswith(POINTER):
            raise UsageError(f"{path} is a git-lfs pointer and not the file itself: run `git lfs pull` in {folder}")
    return names


def model_files(view: View) -> list[Path]:
    """The files of a view's local folder that are read, sorted by name; raises as `needed` does."""
    if (folder := view.folder) is None:
        return []
    return [folder / name for name in local_files(folder, view.family, view.pickled, view.start_seed is not None)]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; raises UsageError where there is no such file, or it is something else."""
    if not path.is_file():
        raise UsageError(f"{path.parent} lacks {path.name}")
    if (value := files.read_json(path)) is None:
        raise UsageError(f"{path} is not a JSON object: download it again")
    return value


def tensors(path: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the tensors in a safetensors file; reads its header alone, and raises UsageError if damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as stored:
            return {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UsageError(f"{path.parent}: {path.name} is truncated or damaged ({error}): download it again") from error


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Raise whatever a foreign file makes its library raise as a UsageError that begins with what was read."""
    try:
        yield
    except NoiseZooError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{what} cannot be loaded: {reason[:300]}") from error


@contextmanager
def naming(view: View) -> Iterator[None]:
    """Put the view's name before the message of a UsageError, once."""
    try:
        yield
    except UsageError as error:
        told = f"view {view.name}: "
        raise UsageError(told + str(error).removeprefix(told)) from error


def resolve(
    folder_or_hub_id: str | Path, revision: str | None = None, *, family: str = "diffusers", pickled: bool = False,
    texts: bool = True,
) -> Path:  # fmt: skip
    """The local folder of a model: itself, or a snapshot of what its family (a key of `Layout.TABLE`) needs.

    Raises UsageError where there is neither such a folder nor such a repository, it is gated and access is not granted,
    or it does not hold a whole model of the family; NoiseZooError where the Hub is busy or cannot be reached.
    """
    if _is_local(folder_or_hub_id):
        return _local(folder_or_hub_id)
    repo, mark = str(folder_or_hub_id), layout_of(family).mark
    if COMMIT.fullmatch(revision or "") and (whole := _cached(repo, revision, family, pickled, texts)) is not None:
        return whole  # of thousands of processes, none asks the Hub for what cannot change
    listing = list_files(repo, revision, [mark])
    return listing.fetch(needed(listing, family, pickled, texts=texts))


def list_files(folder_or_hub_id: str | Path, revision: str | None, marks: Sequence[str]) -> Listing:
    """The files of a folder or of a Hub repository, `marks` fetched; where the Hub is out of reach, those in the cache.

    Raises as `resolve` does.
    """
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    if _is_local(folder_or_hub_id):
        return Listing.of(_local(folder_or_hub_id))
    repo = str(folder_or_hub_id)
    folder = _download(repo, revision, marks)
    try:
        names = frozenset(file.path for file in get_cached_repo_tree(repo, revision=folder.name))
    except CachedRepoTreeNotFoundError:
        return Listing.of(folder)
    return Listing(repo, names, lambda names: _download(repo, folder.name, names))


def snapshot_of(folder: Path) -> tuple[str, str] | None:
    """Repository and commit of a folder in the Hub's cache; None for any other."""
    if not (folder.parent.name == "snapshots" and COMMIT.fullmatch(folder.name)):
        return None
    return folder.parent.parent.name.removeprefix("models--").replace("--", "/"), folder.name


def cached_snapshot(view: View, *, texts: bool = True) -> Path | None:
    """The snapshot in the Hub's cache, if it has all that the view needs, with text towers' weights or without them."""
    if not view.repo or view.folder is not None:
        return None
    return _cached(view.repo, view.revision, view.family, view.pickled, texts)


def check_access(view: View, *, texts: bool = True) -> None:
    """Refuse, before any work, a view whose model cannot be had; a complete snapshot in the cache is enough.

    Without `texts` a snapshot is complete without the weights of its text towers. Raises NoiseZooError where the folder
    or the repository is missing, gated or out of reach; it says how to get access.
    """
    folder = view.folder
    if folder is None and view.repo and cached_snapshot(view, texts=texts) is None:
        _head(view)
    elif folder is not None and not folder.exists():
        mend = f"give another by --folder {view.name}=PATH" if is_path(view.repo) else "reinstall noisezoo"
        raise UsageError(f"view {view.name}: its model folder {folder} is missing: {mend}")
    elif folder is not None:
        with naming(view):
            local_files(_local(folder), view.family, view.pickled)


def pin(view: View, commits: Mapping[str, str]) -> View:
    """The row at one commit: the one that is known for it, or where its branch stands now.

    A branch may move between two processes of a build; all of them read what the first one found.
    """
    commit = commits.get(view.name) or commit_of(view)
    return view if commit is None else replace(view, revision=commit)


def commit_of(view: View) -> str | None:
    """The commit on the Hub that a view's numbers come from: its pin, or where its branch stands now.

    None for a model that is not on the Hub; raises NoiseZooError where the branch is neither in the cache nor in reach.
    """
    if not view.repo or view.folder is not None:
        return None
    if view.revision is not None and COMMIT.fullmatch(view.revision):
        return view.revision
    try:
        return _head(view).commit_hash
    except NoiseZooError:
        if (folder := cached_snapshot(view, texts=False)) is None:
            raise
        return folder.name


def _is_local(folder_or_hub_id: str | Path) -> bool:
    return isinstance(folder_or_hub_id, Path) or is_path(folder_or_hub_id) or Path(folder_or_hub_id).exists()


def _local(path: str | Path) -> Path:
    folder = Path(path).expanduser()
    if folder.is_file():
        raise UsageError(
            f"{folder} is a single file: read it by diffusers' `from_single_file`, write a folder by `save_pretrained` "
            "and give that"
        )
    if not folder.is_dir():
        raise UsageError(f"there is no model folder {folder}")
    return folder


def _named(repo: str, revision: str | None) -> str:
    return repo if revision is None else f"{repo} at revision {revision!r}"


def _download(repo: str, revision: str | None, names: Sequence[str], cached: bool = False) -> Path:
    """The snapshot that holds these files; `cached`: as it lies in the cache."""
    from huggingface_hub import snapshot_download

    with explained(_named(repo, revision), READ):
        patterns = [escape(name) for name in names]
        return Path(snapshot_download(repo, revision=revision, allow_patterns=patterns, local_files_only=cached))


def _cached(repo: str, revision: str | None, family: str, pickled: bool, texts: bool = True) -> Path | None:
    """The snapshot in the cache, if it has all that the family needs."""
    mark = layout_of(family).mark
    try:
        folder = _download(repo, revision, [mark], cached=True)
        return folder if needed(Listing.of(folder), family, pickled, texts=texts) else None
    except NoiseZooError:
        return None


def _head(view: View) -> "HfFileMetadata":
    """What the Hub tells of the family's first file, without fetching it: gated and missing repositories show here."""
    from huggingface_hub import get_hf_file_metadata, get_token, hf_hub_url
    from huggingface_hub.errors import RemoteEntryNotFoundError

    mark, mend = layout_of(view.family).mark, f"or give a local folder: --folder {view.name}=PATH"
    try:
        with explained(_named(view.repo, view.revision), READ):
            return get_hf_file_metadata(hf_hub_url(view.repo, mark, revision=view.revision), token=get_token())
    except NoiseZooError as error:
        absent = isinstance(error.__cause__, RemoteEntryNotFoundError)
        reason = f"{view.repo} is no {view.family} model: it has no {mark}" if absent else str(error)
        reason += f"; the same weights are at {view.ungated}" if view.gated and view.ungated else ""
        unpinned = view.revision is None and view.name in zoo.ROWS
        reason += " (no commit of it is known to the zoo, which asks for `main`)" if unpinned else ""
        raise type(error)(f"view {view.name}: {reason}, {mend}") from error
