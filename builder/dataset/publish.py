"""From a finished folder to a repository on the Hub: what differs is sent first, then one commit makes it visible.

The Hub is the state: every call compares the repository with the folder and does what is left to do. So a publication
that was killed goes on, a second one sends nothing, and no reader ever sees a part of a version.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from hashlib import sha1, sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from noisezoo.errors import NoiseZooError, UsageError
from noisezoo.hub import BUSY, PUBLISH, cause_of, explained, is_transport, status_of
from noisezoo.record import RECORD
from .contents import File, finished, listed, refuse_unpublishable, version_tag
from .leave_out import leave_out

if TYPE_CHECKING:
    from huggingface_hub import DatasetInfo, HfApi
    from huggingface_hub.hf_api import RepoFile

Gate = Literal["manual", "auto"]
OWN = (".parquet", ".safetensors")
"""Files in folders of the repository that we may delete; what its owner added beside them stays."""
BATCH = 10
"""Number of files to upload at a time: upload URLs expire, and a finished batch is not sent again."""
SMALL = 2**20
"""A file of at most this many bytes is read once, to be compared with its record and sent."""
ATTEMPTS = 5
LONGEST = 300.0
"""Seconds to wait at most before a retry: the Hub counts its rate limits in windows of five minutes."""
CHANGED = "{} is not what its record says: it changed since it was verified; run the build again, then publish"


@dataclass(frozen=True)
class Plan:
    """The difference between the folder and the repository."""

    send: tuple[File, ...]
    skip: tuple[File, ...]
    delete: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.send or self.delete)


@dataclass(frozen=True)
class Published:
    """What a call published, or a dry run would publish."""

    repo_id: str  # `ORG/NAME`
    commit: str | None  # the commit that holds the version; None where a dry run found that it is still to be made
    tag: str  # name of the version, from the SHA-256 of its files alone
    uploaded: tuple[str, ...]  # paths whose content is new to the repository
    uploaded_bytes: int  # their sizes' sum
    skipped: tuple[str, ...]  # paths that the repository held already, byte for byte
    skipped_bytes: int  # their sizes' sum
    deleted: tuple[str, ...]  # paths of an older version that this one does not have


def publish(
    folder: Path,
    repo_id: str,
    *,
    check: Callable[[Path], None],
    private: bool = True,
    gated: Gate | None = None,
    sensitive: bool = True,
    dry_run: bool = False,
    redistribute: bool = False,
    without: Sequence[str] = (),
    token: str | None = None,
    endpoint: str | None = None,
) -> Published:
    """Make the repository hold the folder's dataset, visible by one commit and tagged with its version.

    Args:
        folder: A finished dataset; what its own record lists is published, never what happens to lie there.
        repo_id: `ORG/NAME` of the dataset repository; it is created where there is none.
        check: Verifies the folder, and raises if anything is wrong with it.
        private: Whether only its owners may see the repository; set before anything is sent.
        gated: How readers get access: `manual` (the owner decides), `auto` (on accepting the terms), or None for the
            gate that the repository has.
        sensitive: The rows bring back faces: a repository without a gate gets a `manual` one.
        dry_run: Touch nothing, and say what would be sent.
        redistribute: Publish views that were imported from others, too.
        without: Views to leave out of what is published; the folder keeps them.
        token: The Hub's access token; None for the one of `hf auth login`.
        endpoint: The Hub's address; None for the public one, or that of `HF_ENDPOINT`.

    Raises:
        IncompleteError: The build is not finished, or the Hub was out of reach for longer than we wait: publishing
            again goes on.
        UsageError: `repo_id` is not ORG/NAME, the repository holds something else than a NoiseZoo dataset, or `without`
            names no view of the dataset, or all.
        NoiseZooError: `check` failed, a file may not be published, or the Hub refused; names the mend.
    """
    from huggingface_hub import HfApi

    finished(folder)
    with leave_out(folder, without) if without else nullcontext(folder) as shown:
        files = listed(shown, redistribute)
        check(shown)
        for file in files:
            refuse_unpublishable(file.path, file.local)
        publication = _Publication(HfApi(endpoint=endpoint, token=token), repo_id, files)
        with explained(repo_id, PUBLISH):
            if dry_run:
                return publication.dry_run()
            return persistently(lambda: publication.run(private, gated, sensitive))


class _Publication:
    """One version on its way into one repository; `run` may be called again after any failure."""

    def __init__(self, api: "HfApi", repo_id: str, files: tuple[File, ...]) -> None:
        self.api, self.repo_id, self.files = api, repo_id, files
        self.tag = version_tag(files)
        self._first: Plan | None = None

    def dry_run(self) -> Published:
        """Report what `run` would do."""
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            head = str(self._info().sha)
        except RepositoryNotFoundError:
            return self._published(Plan(self.files, (), ()), None)
        plan = self._plan(head)
        return self._published(plan, None if plan else head)

    def run(self, private: bool, gated: Gate | None, sensitive: bool) -> Published:
        """Set the access, send what differs, commit it, tag it."""
        head = self._opened(private, gated, sensitive)
        plan = self._plan(head)
        self._first = self._first or plan  # an attempt whose answer was lost has done what this one finds done
        if plan:
            head = self._commit(plan, head)
            if self._plan(head):
                raise NoiseZooError(CHANGED.format(self.repo_id))
        self._tag(head)
        return self._published(self._first, head)

    def _info(self) -> "DatasetInfo":
        return self.api.dataset_info(self.repo_id)

    def _opened(self, private: bool, gated: Gate | None, sensitive: bool) -> str:
        """Give the repository its access settings, and return the commit to start from."""
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            info = self._info()
        except RepositoryNotFoundError:
            self.api.create_repo(self.repo_id, repo_type="dataset", private=private, exist_ok=True)
            info = self._info()
        gate = gated or info.gated or ("manual" if sensitive else False)
        if (info.private, info.gated or False) != (private, gate):
            self.api.update_repo_settings(self.repo_id, repo_type="dataset", private=private, gated=gate)
        return str(info.sha)

    def _held(self, revision: str) -> "dict[str, RepoFile]":
        from huggingface_hub.hf_api import RepoFile

        entries = self.api.list_repo_tree(self.repo_id, recursive=True, revision=revision, repo_type="dataset")
        return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}

    def _plan(self, revision: str) -> Plan:
        held = self._held(revision)
        ours = {path for path in held if "/" in path and path.endswith(OWN)}
        if ours and RECORD not in held:
            raise UsageError(f"{self.repo_id} holds another dataset ({min(ours)}): publish under a new name")
        same = {file.path for file in self.files if _same(file, held.get(file.path))}
        return Plan(
            send=tuple(file for file in self.files if file.path not in same),
            skip=tuple(file for file in self.files if file.path in same),
            delete=tuple(sorted(ours - {file.path for file in self.files})),
        )

    def _commit(self, plan: Plan, parent: str) -> str:
        """Send what is new to the store, where nobody sees it, then make all of it visible at once."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        changes: list[CommitOperationAdd | CommitOperationDelete] = []
        for start in range(0, len(plan.send), BATCH):
            additions = []
            for file in plan.send[start : start + BATCH]:
                additions.append(CommitOperationAdd(file.path, _content(file)))
                additions[-1].upload_info.sha256 = bytes.fromhex(file.sha256)
            self.api.preupload_lfs_files(self.repo_id, additions, repo_type="dataset")
            changes += additions
        changes += [CommitOperationDelete(path, is_folder=False) for path in plan.delete]
        made = self.api.create_commit(
            self.repo_id, changes, repo_type="dataset", commit_message=f"Version {self.tag}", parent_commit=parent
        )
        return str(made.oid)

    def _tag(self, commit: str) -> None:
        tags = {tag.name: tag.target_commit for tag in self.api.list_repo_refs(self.repo_id, repo_type="dataset").tags}
        stands = tags.get(self.tag)
        if stands is None:
            self.api.create_tag(self.repo_id, tag=self.tag, revision=commit, repo_type="dataset", exist_ok=True)
        elif stands != commit and self._plan(stands):
            raise NoiseZooError(
                f"{self.repo_id} has a tag {self.tag} on another version: delete that tag, publish again"
            )

    def _published(self, plan: Plan, commit: str | None) -> Published:
        sent, skipped = (tuple(file.path for file in files) for files in (plan.send, plan.skip))
        sizes = (sum(file.size for file in files) for files in (plan.send, plan.skip))
        return Published(self.repo_id, commit, self.tag, sent, next(sizes), skipped, next(sizes), plan.delete)


def _content(file: File) -> Path | bytes:
    """What to send. The Hub refuses a large file whose SHA-256 is not the record's; a small one is compared here."""
    if file.size > SMALL:
        return file.local
    data = file.local.read_bytes()
    if sha256(data).hexdigest() != file.sha256:
        raise NoiseZooError(CHANGED.format(file.local))
    return data


def _same(file: File, held: "RepoFile | None") -> bool:
    """Whether the repository has this file: it knows the SHA-256 of a large one, and git's own hash of a small one."""
    if held is None or held.size != file.size:
        return False
    if held.lfs is not None:
        return bool(held.lfs.sha256 == file.sha256)
    return bool(held.blob_id == sha1(b"blob %d\0" % file.size + file.local.read_bytes()).hexdigest())


def persistently(attempt: Callable[[], Published]) -> Published:
    """Retry until it succeeds, `ATTEMPTS` times at most, each time after the wait that the Hub asks for."""
    for number in range(1, ATTEMPTS):
        try:
            return attempt()
        except Exception as error:
            seconds = wait_for(error, number)
            if seconds is None:
                raise
        time.sleep(seconds)
    return attempt()


def wait_for(error: Exception, attempt: int) -> float | None:
    """Seconds to wait before a retry after the `attempt`-th failure; None where waiting cannot help."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    error = cause_of(error)
    passing = is_transport(error) or status_of(error) in BUSY
    if not passing or isinstance(error, OfflineModeIsEnabled):
        return None
    return min(LONGEST, max(_asked(error), 2.0 ** (attempt - 1)))


def _asked(error: Exception) -> float:
    """Seconds that the Hub asks to wait: `Retry-After`, or the time until its rate limit is reset."""
    from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

    headers = getattr(getattr(error, "response", None), "headers", {})
    limit = parse_ratelimit_headers(headers)
    after = headers.get("retry-after", "")
    return float(max(int(after) if after.isdigit() else 0, limit.reset_in_seconds if limit else 0))
