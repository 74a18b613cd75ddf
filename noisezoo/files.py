"""How a file comes to be: under a hidden name, forced to disk, reread, then renamed. No other way to a final name."""

import glob
import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from noisezoo.errors import NoiseZooError

TEMPORARY = ".tmp"


def make_folder(folder: Path) -> None:
    """Make a folder where there is none, and find out whether files can be written there: OSError where not.

    What is written to find out never has a name that a kill could leave.
    """
    folder.mkdir(parents=True, exist_ok=True)
    TemporaryFile(dir=folder).close()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the file's name into a system's error that lacks one, as that of a write to a full disk does."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            said = error.strerror or str(error)
            error.strerror, error.filename = said, str(path)
        raise


@contextmanager
def committed(path: Path, check: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """Yield a hidden temporary path in the final folder; on leaving, force it to disk, `check` it and rename it.

    On any exception, KeyboardInterrupt included, the temporary file goes and `path` stays as it was: an interrupt in
    the middle of a write otherwise leaves a short file that looks valid.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMPORARY}")
    try:
        with naming(path):
            yield temporary
            _sync(temporary)
            if check is not None:
                check(temporary)
            os.replace(temporary, path)
            _sync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Commit a file of text."""
    with committed(path) as temporary:
        temporary.write_text(text)


def write_json(path: Path, value: Any) -> None:
    """Commit a JSON file with sorted keys, so that equal values give equal bytes."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """The text that `write_json` writes."""
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


def write_tensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Write arrays as safetensors.

    `safetensors` itself would write beside `path` under a name that nobody takes away after a kill, and then leave a
    file that its owner alone may read.
    """
    from safetensors.numpy import save

    path.write_bytes(save({name: np.ascontiguousarray(value) for name, value in tensors.items()}))


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON file's object, or None where there is none or it cannot be parsed."""
    try:
        return read_state(path)
    except NoiseZooError:
        return None


def read_state(path: Path) -> dict[str, Any] | None:
    """A JSON file that only `write_json` writes, or None where there is none.

    Raises:
        NoiseZooError: It cannot be parsed: what was committed whole was damaged since, and is not guessed at.
    """
    try:
        return parse_state(path.read_bytes(), path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def parse_state(content: bytes, path: Path) -> dict[str, Any]:
    """The object in the bytes of a JSON file.

    Raises:
        NoiseZooError: They cannot be parsed.
    """
    try:
        value = json.loads(content)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise NoiseZooError(f"{path} is damaged: put back a copy of it, or use a new folder")
    return value


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def clean_up(folder: Path, name: str = "", idle: float = 0.0) -> None:
    """Remove what killed writers of `name` (of any file, where it is empty) left in a folder, `idle` seconds ago."""
    for leftover in folder.glob(f".{glob.escape(name)}*{TEMPORARY}"):
        with suppress(FileNotFoundError):
            if not idle or leftover.stat().st_mtime < time.time() - idle:
                leftover.unlink()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
