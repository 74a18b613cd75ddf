"""What a view's numbers come from, as a short text: hashes of a local model's files, or repository and commit."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from noisezoo import zoo
from noisezoo.builder.models import model_files
from noisezoo.files import read_json, sha256_of, write_json

HASHES = "hashes.json"
"""SHA-256 of local models' files, in the state; each machine has its own."""


def fingerprint(view: zoo.View, hashed: Callable[[Path], str] = sha256_of) -> str:
    """A short text that changes when the numbers of a view may: model files' hashes, or repository and commit."""
    start = "" if view.start_seed is None else f" from seed {view.start_seed}"
    where = f"{view.repo}@{view.revision}"
    if view.folder is not None:
        lines = "\n".join(f"{path} {digest}" for path, digest in file_hashes(view, hashed).items())
        where = f"files {hashlib.sha256(lines.encode()).hexdigest()}"
    copy = "" if view.augment is None else f" of a {view.augment}"
    return f"{view.family} {where} {view.resolution} {view.shape}{start}{copy}"


def file_hashes(view: zoo.View, hashed: Callable[[Path], str], endings: tuple[str, ...] = ("",)) -> dict[str, str]:
    """Path -> SHA-256 of a local model's files with such endings, which the Hub too shows of its files."""
    there = [path for path in model_files(view) if path.name.endswith(endings)]
    return {path.relative_to(view.folder or "").as_posix(): hashed(path) for path in there}


def hashing(state: Path) -> Callable[[Path], str]:
    """SHA-256 of a file, which one process of a build reads for all: again only after its size or time changed."""

    def hashed(path: Path) -> str:
        known, stat = read_json(state / HASHES) or {}, path.stat()
        name, mark = str(path.resolve()), [stat.st_size, stat.st_mtime_ns]
        if known.get(name, [])[:2] != mark:
            known[name] = [*mark, sha256_of(path)]
            with suppress(FileNotFoundError):  # another process may clean up: the next one hashes again
                write_json(state / HASHES, known)
        digest: str = known[name][2]
        return digest

    return hashed
