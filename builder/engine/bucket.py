"""The shared place of a build in object storage: a prefix of a bucket, which machines share without a file system.

Leases need two conditional writes, which every large object storage has: create an object if there is none
(`If-None-Match: *`), and replace it if it is still the version that was read (`If-Match`). The answer to a write may be
lost after the write took effect, and the client then repeats it. So no refusal is believed before the object was read
again: no two writes of a lease have the same content.

To delete is the one thing that cannot be done on a condition. A released lease therefore stays, as an object of one
byte, until the build is finished.
"""

import errno
import hashlib
import os
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from noisezoo.errors import UsageError
from noisezoo.files import TEMPORARY, clean_up, committed
from .store import Entry, Store

RELEASED = b"\n"
"""Content of a lease that nobody owns."""

WORK = "NOISEZOO_WORK"
"""Variable that names the folder of the working files; without it they lie in the user's cache."""

CLOCK = f".clock{TEMPORARY}"
"""Object that is written to learn the storage's time."""

HUB = "https://s3.hf.co"
"""Where the Hub's buckets speak the protocol of S3: https://huggingface.co/docs/hub/storage-buckets-s3"""

HUB_CLIENT = "aws-sdk-rust noisezoo"
"""To a client of this name the Hub sends an object's bytes and version itself; to others, the address of a copy."""

IDLE_SECONDS = 3600.0
"""Nothing is being written or sent any more in a working file that has not changed for so long."""

Mode = str | dict[str, str]
"""`create`, `overwrite`, or the version that is replaced."""


class Bucket(Store):
    """A prefix of a bucket. On this machine lies only what a process is working on."""

    def __init__(self, url: str) -> None:
        """`url` is `SCHEME://BUCKET/PATH`."""
        self._url, self._copies = url, dict[Path, str | None]()
        self.root = working_folder() / hashlib.sha256(url.encode()).hexdigest()[:12] / url.rpartition("/")[2]
        self._client = _connect(url)

    @property
    def name(self) -> str:
        """The URL."""
        return self._url

    @property
    def address(self) -> str:
        """The URL."""
        return self._url

    def make(self, folder: Path) -> None:
        """A bucket has no folders: this machine's is made."""
        folder.mkdir(parents=True, exist_ok=True)

    def creation(self, folder: Path) -> str:
        """By `conditional writes`, unless the storage takes conditions and ignores them."""
        probe = folder / f".{uuid.uuid4().hex}{TEMPORARY}"
        try:
            obeyed = self._put(probe, b"1", "create") and not self._put(probe, b"2", "create")
            seen = self.read(probe)
            obeyed = obeyed and seen is not None and self._put(probe, b"3", _version(seen))
            if not obeyed or seen is None or self._put(probe, b"4", _version(seen)):
                raise UsageError(
                    f"the storage of {self.name} ignores If-None-Match or If-Match, by which processes would share the "
                    "work: choose another --out"
                )
            return "conditional writes"
        finally:
            self.remove(probe)

    def time(self, folder: Path) -> float:
        """The time of an object that is written to learn it."""
        self._put(folder / CLOCK, RELEASED, "overwrite")
        written = self._get(folder / CLOCK)
        return 0.0 if written is None else written.time

    def read(self, path: Path) -> Entry | None:
        """None for a lease that was released."""
        found = self._get(path)
        return None if found is None or found.content == RELEASED else found

    def tail(self, path: Path, start: int) -> bytes:
        """By a request for a range."""
        with self._asking(path):
            return bytes(self._client.get(self._key(path), options={"range": {"offset": start}}).bytes())

    def create(self, path: Path, text: str) -> bool:
        """Where a lease was released, its object is replaced."""
        if self._put(path, text.encode(), "create"):
            return True
        there = self._get(path)
        return there is not None and there.content == RELEASED and self._put(path, text.encode(), _version(there))

    def touch(self, path: Path, seen: Entry) -> None:
        """Another second line, so that the content is another one."""
        line = seen.content.partition(b"\n")[0]
        self._put(path, line + b"\n" + uuid.uuid4().hex.encode(), _version(seen))

    def delete(self, path: Path, seen: Entry) -> bool:
        """The object stays and says that the lease was released."""
        return self._put(path, RELEASED, _version(seen))

    def remove(self, path: Path) -> None:
        """The object goes."""
        with suppress(FileNotFoundError), self._asking(path):
            self._client.delete(self._key(path))

    def names(self, folder: Path) -> frozenset[str]:
        """Without the leases that were released."""
        with self._asking(folder):
            found = self._client.list_with_delimiter(self._key(folder))
        folders = (prefix.rpartition("/")[2] for prefix in found["common_prefixes"])
        return frozenset([*folders, *(self._path(each).name for each in found["objects"] if _is_there(each))])

    def sizes(self, folder: Path) -> dict[str, tuple[int, float]]:
        """By one listing."""
        with self._asking(folder):
            found = self._client.list_with_delimiter(self._key(folder))["objects"]
        return {self._path(each).name: (each["size"], each["last_modified"].timestamp()) for each in found}

    def walk(self, folder: Path) -> list[Path]:
        """Without the leases that were released."""
        return [self._path(each) for each in self._list(folder) if _is_there(each)]

    def size(self, path: Path) -> int | None:
        """By a request for its head."""
        try:
            with self._asking(path):
                return int(self._client.head(self._key(path))["size"])
        except FileNotFoundError:
            return None

    @contextmanager
    def committed(self, path: Path, check: Callable[[Path], None] | None = None) -> Iterator[Path]:
        """A hidden path in the working folder, which is sent and removed: an object appears whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMPORARY}")
        try:
            yield temporary
            if check is not None:
                check(temporary)
            self._send(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def fetch(self, path: Path) -> Path:
        """Downloaded to its path in the working folder, unless this process has just done so."""
        with self._asking(path):
            found = self._client.get(self._key(path))
            if self._copies.get(path, "") != found.meta["e_tag"] or not path.exists():
                with committed(path) as temporary, temporary.open("wb") as stream:
                    stream.writelines(found.stream())
        self._copies[path] = found.meta["e_tag"]
        return path

    def share(self, path: Path) -> None:
        """Sent as it is."""
        self._send(path, path)

    def share_dataset(self, paths: Sequence[Path]) -> None:
        """What else lies in the dataset's folders is of an earlier version, and goes."""
        *files, card, record = paths
        for path in (record, card):
            self.remove(path)
        for folder in {path.parent for path in files} - {self.root}:
            for stale in set(self.walk(folder)).difference(files):
                self.remove(stale)
        for path in paths:
            self.share(path)
        self._copies |= dict.fromkeys(paths)

    def forget(self) -> None:
        """They go."""
        for path in self._copies:
            path.unlink(missing_ok=True)
        self._copies.clear()

    def clean_up(self, folder: Path, name: str = "") -> None:
        """Working files that have lain idle, for a sibling may be fetching here, and the objects of released leases."""
        clean_up(folder, name, idle=IDLE_SECONDS)
        for each in [] if name else self._list(folder):
            if not _is_there(each):
                self.remove(self._path(each))

    def _key(self, path: Path) -> str:
        key = path.relative_to(self.root).as_posix()
        return "" if key == "." else key

    def _path(self, found: Any) -> Path:
        return self.root / str(found["path"])

    def _list(self, folder: Path) -> list[Any]:
        with self._asking(folder):
            return list(self._client.list(self._key(folder)).collect())

    def _get(self, path: Path) -> Entry | None:
        try:
            with self._asking(path):
                found = self._client.get(self._key(path))
                version = {key: found.meta[key] for key in ("e_tag", "version") if found.meta[key] is not None}
                return Entry(found.meta["last_modified"].timestamp(), bytes(found.bytes()), version)
        except FileNotFoundError:
            return None

    def _put(self, path: Path, content: bytes, mode: Mode) -> bool:
        """Write an object on a condition; False where it is not met."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            with self._asking(path):
                self._client.put(self._key(path), content, mode=mode)
            return True
        except (AlreadyExistsError, PreconditionError, OSError) as error:
            there = self._get(path)
            if there is not None and there.content == content:
                return True  # the answer was lost, and the client's next attempt refused
            if isinstance(error, OSError):
                raise
            return False

    def _send(self, file: Path, path: Path) -> None:
        with self._asking(path):
            self._client.put(self._key(path), file)

    @contextmanager
    def _asking(self, path: Path) -> Iterator[None]:
        """Make the client's errors the system's, with one line that names the object."""
        from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

        try:
            yield
        except (AlreadyExistsError, PreconditionError):
            raise
        except (BaseError, FileNotFoundError) as error:
            where = f"{self.name}/{self._key(path)}"
            gone = isinstance(error, FileNotFoundError) or "404 Not Found" in str(error)
            said = "there is no such bucket or object" if gone else str(error).splitlines()[0]
            raise OSError(errno.ENOENT if gone else errno.EIO, said, where) from error


def working_folder() -> Path:
    """Where builds in object storage keep this machine's working files."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get(WORK) or cache / "noisezoo" / "builds").absolute()


def _version(seen: Entry) -> dict[str, str]:
    return dict(seen.version)


def _is_there(found: Any) -> bool:
    """Whether a listed object is more than a released lease."""
    return bool(found["size"] != len(RELEASED))


def _connect(url: str) -> Any:
    """The client of a bucket; keys are relative to the URL's path.

    The Hub's own interface has no conditions, but its buckets can also be written by the protocol of S3, which has.

    Raises:
        UsageError: The package is missing, or the URL is not one of an object storage that can do this.
    """
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError as error:
        raise UsageError(f"{url} needs the package obstore: pip install 'noisezoo[storage]'") from error
    environment = (value for name, value in os.environ.items() if name.startswith(("AWS_ENDPOINT", "GOOGLE_BASE_URL")))
    client: Any = {"allow_http": any(value.startswith("http://") for value in environment)}
    config: Any = {}
    if url.startswith("hf://"):
        place = re.fullmatch(r"hf://buckets/([^/]+)/(.+)", url)
        if place is None:
            raise UsageError(f"{url} names no bucket: write hf://buckets/NAMESPACE/NAME/PATH")
        url = f"s3://{place[2]}"
        config = {"endpoint": f"{HUB}/{place[1]}", "region": "us-east-1", "disable_bulk_delete": "true"}
        client["user_agent"] = HUB_CLIENT
    try:
        return from_url(url, config=config, client_options=client)
    except (BaseError, ValueError) as error:
        raise UsageError(f"{url}: {str(error).splitlines()[0]}") from error
