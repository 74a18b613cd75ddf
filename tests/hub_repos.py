"""What the loopback Hub of the tests holds: repositories of immutable commits, and the answers about them."""

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

LARGE = ("parquet", "safetensors", "arrow", "bin")
ATTRIBUTES = "".join(f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LARGE)
Tree = dict[str, "Blob"]


@dataclass(frozen=True)
class Blob:
    """A file's content; `sha256` is set where it lies in the LFS store."""

    data: bytes
    sha256: str | None = None

    @cached_property
    def oid(self) -> str:
        """Git's own name: of the content, or of the pointer that stands for it."""
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.data)}\n"
        data = self.data if self.sha256 is None else pointer.encode()
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass(frozen=True)
class Commit:
    """One immutable state of a repository."""

    sha: str
    title: str
    tree: Tree

    @cached_property
    def entries(self) -> dict[str, dict[str, Any]]:
        """Every folder and file as the tree API tells them."""
        told = {path: _file(path, blob) for path, blob in self.tree.items()}
        folders = {str(parent) for path in told for parent in PurePosixPath(path).parents} - {"."}
        return dict(sorted((told | {path: _folder(path) for path in folders}).items()))


def _file(path: str, blob: Blob) -> dict[str, Any]:
    size = len(blob.data)
    lfs = {} if blob.sha256 is None else {"lfs": {"oid": blob.sha256, "size": size, "pointerSize": 134}}
    return {"type": "file", "path": path, "size": size, "oid": blob.oid, **lfs}


def _folder(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(path.encode()).hexdigest()}


@dataclass
class Repo:
    """A repository: commits by sha, the names that point to them, and its LFS store."""

    kind: str
    name: str
    private: bool = False
    gated: str | bool = False
    granted: set[str] = field(default_factory=set)
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    store: dict[str, bytes] = field(default_factory=dict)

    def commit(self, title: str, tree: Tree, branch: str = "main") -> Commit:
        """A new state at the end of a branch."""
        named = json.dumps([len(self.commits), title, sorted((path, blob.oid) for path, blob in tree.items())])
        made = Commit(hashlib.sha1(named.encode()).hexdigest(), title, tree)
        self.commits[made.sha] = made
        self.branches[branch] = made.sha
        return made

    def at(self, revision: str) -> Commit:
        """The commit that a branch, a tag or a sha names."""
        sha = self.branches.get(revision) or self.tags.get(revision) or revision
        if sha not in self.commits:
            raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return self.commits[sha]

    @property
    def head(self) -> Commit:
        """Where `main` stands."""
        return self.at("main")

    def large(self, path: str, size: int) -> bool:
        """Whether a file goes to the LFS store, by the repository's own rules and its size."""
        rules = [line.split()[0] for line in self.head.tree[".gitattributes"].data.decode().splitlines()]
        return size > 10 * 2**20 or any(PurePosixPath(path).match(rule) for rule in rules)


@dataclass(frozen=True)
class Reply:
    """Status, body and headers of an answer."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class HubError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, code: str = "", message: str = "", headers: dict[str, str] | None = None) -> None:
        named = {"X-Error-Code": code, "X-Error-Message": message}
        headers = {key: value for key, value in named.items() if value} | (headers or {})
        self.reply = Reply(status, json.dumps({"error": message}).encode() if message else b"", headers)
