"""The shared place of a build: what leases, tasks and commits need of it, and how a folder gives it.

Every process has a folder of its own to work in, `root`; a file's place is told by its path there. Where the shared
place is a folder that all processes see, the two are one.
"""

import errno
import os
import re
import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

from noisezoo.errors import NoiseZooError, UsageError
from noisezoo.files import clean_up, committed, json_text, make_folder, naming, parse_state

ATTEMPTS = 10
"""Creating a file is tried so often while its folder, or the file it is linked from, is being cleaned up."""

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL, errno.EACCES)
"""Errors of a file system without hard links."""

EXCLUSIVE = "exclusive creation"
"""How files are created where hard links are missing."""


class Entry(NamedTuple):
    """A file as it was read: each heartbeat and each new owner of a lease gives another."""

    time: float  # of its last change, in seconds of the epoch, by the store's clock
    content: bytes
    version: Mapping[str, str] = {}  # what the store calls this version


@dataclass(unsafe_hash=True)
class Store:
    """The shared files of a build, in a folder on a file system that every process sees; `Bucket` keeps them elsewhere.

    Of several processes that create or delete one file, only one succeeds.

    Attributes:
        root: The dataset's folder on this machine.
    """

    root: Path

    @property
    def name(self) -> str:
        """The place as its user calls it."""
        return str(self.root)

    @property
    def address(self) -> str:
        """The place as any process of this machine finds it."""
        return str(self.root.absolute())

    def make(self, folder: Path) -> None:
        """Make a folder where there is none, and find out whether files can be written there: OSError where not.

        Nothing that is written to find out has a name that a kill could leave.
        """
        make_folder(folder)

    def creation(self, folder: Path) -> str:
        """How files are created exclusively in a folder: by `hard links` or by `exclusive creation`.

        Raises:
            UsageError: They cannot be.
        """
        probe = folder / f".{uuid.uuid4().hex}.tmp"
        beside = probe.with_suffix(".link.tmp")
        try:
            probe.touch()
            creation = _give_name(probe, beside)
            with suppress(FileExistsError):
                _give_name(probe, beside)
                raise UsageError(
                    f"the file system of {folder} has neither hard links nor exclusive creation, by which processes "
                    "would share the work: choose another --out"
                )
            return creation
        finally:
            probe.unlink(missing_ok=True)
            beside.unlink(missing_ok=True)

    def time(self, folder: Path) -> float:
        """Seconds of the epoch by the store's clock, which gives files their times; by this host's if it is silent."""
        try:
            with TemporaryFile(dir=folder) as probe:
                return os.fstat(probe.fileno()).st_mtime
        except OSError:
            return time.time()

    def read(self, path: Path) -> Entry | None:
        """A file, with the newest version that there is; None where there is none.

        The file is opened: a client of NFS then asks the server, while for a mere stat it answers from its cache.
        """
        try:
            with path.open("rb") as stream:
                return Entry(os.fstat(stream.fileno()).st_mtime, stream.read())
        except (FileNotFoundError, NotADirectoryError):
            return None

    def tail(self, path: Path, start: int) -> bytes:
        """The bytes of a file from `start` on."""
        with path.open("rb") as stream:
            stream.seek(start)
            return stream.read()

    def create(self, path: Path, text: str) -> bool:
        """Create a file whole, of a text that no other process writes; False where there is one of its name."""
        for _ in range(ATTEMPTS):
            try:
                return _create(path, text)
            except FileNotFoundError as error:  # the folder is not there yet, or is being cleaned up
                missing = error
                path.parent.mkdir(parents=True, exist_ok=True)
        raise missing

    def touch(self, path: Path, seen: Entry) -> None:
        """Give a file another version, unless it has changed since it was `seen` or is gone; it says the same.

        In a folder the version is the time; where the file is another one by now, that one's.
        """
        with suppress(FileNotFoundError):
            os.utime(path)

    def delete(self, path: Path, seen: Entry) -> bool:
        """Delete a file, unless it has changed since it was `seen`; False where it has."""
        if self.read(path) != seen:
            return False
        path.unlink(missing_ok=True)
        return True

    def remove(self, path: Path) -> None:
        """Remove a file, whatever it holds, if there is one."""
        path.unlink(missing_ok=True)

    def names(self, folder: Path) -> frozenset[str]:
        """Names of the files and folders in a folder, by one listing, which may be out of date at once."""
        try:
            return frozenset(os.listdir(folder))
        except FileNotFoundError:
            return frozenset()

    def sizes(self, folder: Path) -> dict[str, tuple[int, float]]:
        """Name -> bytes and time of each file in a folder."""
        with suppress(FileNotFoundError), os.scandir(folder) as found:
            stats = [(entry.name, entry.stat()) for entry in found if entry.is_file()]
            return {name: (stat.st_size, stat.st_mtime) for name, stat in stats}
        return {}

    def walk(self, folder: Path) -> list[Path]:
        """All files in a folder and below it."""
        return [Path(place) / name for place, _, names in os.walk(folder) for name in names]

    def size(self, path: Path) -> int | None:
        """Bytes of a file; None where there is none."""
        return path.stat().st_size if path.is_file() else None

    def committed(self, path: Path, check: Callable[[Path], None] | None = None) -> AbstractContextManager[Path]:
        """Yield a hidden path on this machine; on leaving, `check` it and give the whole file its place at once."""
        return committed(path, check)

    def fetch(self, path: Path) -> Path:
        """A file as one that this machine can read: FileNotFoundError where there is none."""
        return path

    def share(self, path: Path) -> None:
        """Let all see a file that was written at its path on this machine."""

    def share_dataset(self, paths: Sequence[Path]) -> None:
        """Let all see a dataset's files, written at their paths here; the last two, card and record, after all others.

        Until the record is there, and while files of two versions lie side by side, there is no dataset.
        """

    def forget(self) -> None:
        """Drop this machine's copies of what this process has fetched or shared."""

    def clean_up(self, folder: Path, name: str = "") -> None:
        """Remove what killed writers of `name` (of any file, where it is empty) left in a folder."""
        clean_up(folder, name)

    def read_state(self, path: Path) -> dict[str, Any] | None:
        """A JSON file that only `write_json` writes, or None where there is none.

        Raises:
            NoiseZooError: It cannot be parsed: what was committed whole was damaged since, and is not guessed at.
        """
        found = self.read(path)
        return None if found is None else parse_state(found.content, path)

    def read_json(self, path: Path) -> dict[str, Any] | None:
        """A JSON file's object, or None where there is none or it cannot be parsed."""
        with suppress(NoiseZooError):
            return self.read_state(path)
        return None

    def write_json(self, path: Path, value: Any) -> None:
        """Commit a JSON file with sorted keys, so that equal values give equal bytes."""
        with self.committed(path) as temporary:
            temporary.write_text(json_text(value))


def _create(path: Path, text: str) -> bool:
    aside = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.{time.monotonic_ns()}.tmp")
    try:
        with naming(path):
            aside.write_text(text)
        _give_name(aside, path)
        return True
    except FileExistsError:
        with suppress(FileNotFoundError):
            return path.read_bytes() == text.encode()  # a server that lost its first answer says so of our own file
        return False
    finally:
        aside.unlink(missing_ok=True)


def _give_name(aside: Path, path: Path) -> str:
    """Give a written file its name, unless a file has it (FileExistsError); returns how.

    A link to an existing name fails, also over NFS. Where the file system has no hard links (exFAT, many FUSE and SMB
    mounts), the file is created exclusively and then written.
    """
    try:
        os.link(aside, path)
        return "hard links"
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
    with path.open("x") as stream:
        stream.write(aside.read_text())
    return EXCLUSIVE


LOCAL = Store(Path())
"""This machine's file system, for paths from the working folder on."""


SCHEMES = ("s3", "gs", "az", "hf")
"""How URLs of object storages begin whose writes may have a condition."""


def find_store(place: str | Path | Store) -> Store:
    """The shared place by its name: a folder, or `SCHEME://BUCKET/PATH`; a `Path` may have folded the two slashes.

    Raises:
        UsageError: No build can be shared there, or the package for it is missing.
    """
    if isinstance(place, Store):
        return place
    if not is_url(place):
        return Store(Path(place))
    scheme, _, rest = str(place).partition(":")
    if scheme not in SCHEMES:
        raise UsageError(f"{place}: a build is shared in a folder or on {', '.join(f'{each}://' for each in SCHEMES)}")
    if not rest.strip("/"):
        raise UsageError(f"{place} names no bucket: write {scheme}://BUCKET/PATH")
    return _bucket(f"{scheme}://{rest.strip('/')}")


def is_url(place: str | Path) -> bool:
    """Whether a place is named by a URL."""
    return re.match(r"[a-z][a-z0-9]+:(/|$)", str(place)) is not None


@cache
def _bucket(url: str) -> Store:
    from noisezoo.builder.engine.bucket import Bucket

    return Bucket(url)
