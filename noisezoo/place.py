"""Where a dataset is read from: a folder, or one commit of a repository on the Hub; its configs as its card lists them.

The card names every file of every split, so that a path is a name and never a pattern, and a file that is missing is
missed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisezoo.errors import NoiseZooError, UsageError
from noisezoo.hub import fetch
from noisezoo.record import CARD, LABELS, PAIRED


@dataclass(frozen=True)
class Place:
    """An opened dataset: a folder, or a commit's folder in the Hub's cache with the files fetched so far."""

    name: str  # as the user wrote it
    root: Path
    repo: str | None  # None for a folder
    configs: dict[str, dict[str, list[str]]]  # config -> split -> paths of its files, in order; the default first

    def fetched(self, paths: Sequence[str]) -> list[Path]:
        """Files on this machine, fetched if need be.

        Raises:
            NoiseZooError: A file is missing.
        """
        root = self.root if self.repo is None else fetch(self.repo, paths, self.root.name)
        missing = [path for path in paths if not (root / path).is_file()]
        if missing:
            raise NoiseZooError(f"{missing[0]} is missing: rebuild, or download again when online")
        return [root / path for path in paths]

    def address(self, path: str) -> str:
        """What `fsspec` reads a file by without fetching it whole: its path, or its address on the Hub."""
        local = self.root / path
        if self.repo is None or local.is_file():
            return str(local)
        return f"hf://datasets/{self.repo}@{self.root.name}/{path}"


def open_place(path_or_repo: str | Path, revision: str | None = None) -> Place:
    """Open a dataset by its card: a folder (as every `Path` is), or a revision of `ORG/NAME` on the Hub.

    Raises:
        UsageError: There is no dataset, the token may not read it, or its card does not list files.
        NoiseZooError: The Hub is busy or cannot be reached.
    """
    if not isinstance(path_or_repo, (str, Path)) or not str(path_or_repo):
        raise UsageError(f"{path_or_repo!r} is no dataset: give a folder, or ORG/NAME on the Hub")
    name, folder = str(path_or_repo), Path(path_or_repo).expanduser()
    if folder.is_dir():
        if not (folder / CARD).exists():
            raise UsageError(
                f"{name} is not a finished NoiseZoo folder: it has no {CARD}; see `noisezoo status`, or go on with "
                "the build, removal or join that was cut short"
            )
        if "::" in str(folder.absolute()):
            raise UsageError(f"{name}: `datasets` reads '::' in a path as a chain of addresses: rename the folder")
        return Place(name, folder.absolute(), None, _configs(name, folder))
    if isinstance(path_or_repo, Path) or name.count("/") > 1 or name.startswith(("/", ".", "~")):
        raise UsageError(f"no dataset at {name}: there is no such folder")
    root = fetch(name, [CARD], revision)
    if not (root / CARD).is_file():
        raise UsageError(f"{name} is no NoiseZoo dataset: it has no {CARD}")
    return Place(name, root, name, _configs(name, root))


def _configs(name: str, root: Path) -> dict[str, dict[str, list[str]]]:
    """What the card in `root` lists."""
    import yaml
    from huggingface_hub import metadata_load

    try:
        entries = (metadata_load(root / CARD) or {})["configs"]
        configs = {entry["config_name"]: _files(entry["data_files"]) for entry in entries}
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise UsageError(
            f"{name} is no NoiseZoo dataset: its {CARD} does not list configs and their files ({type(error).__name__})"
        ) from error
    return dict(sorted(configs.items(), key=lambda item: (item[0] != PAIRED, item[0] != LABELS)))


def _files(splits: Any) -> dict[str, list[str]]:
    files: dict[str, list[str]] = {str(split["split"]): list(split["path"]) for split in splits}
    if any(isinstance(split["path"], str) for split in splits):
        raise ValueError("a pattern in the place of a list")
    return files
