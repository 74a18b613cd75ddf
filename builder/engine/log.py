"""A process's log: one JSON object a line, in a file of its own that nothing overwrites and no secret enters.

The first line says who writes (host, pid, rank, attempt); every line says when, how grave, how long after the first,
and, inside `about`, of which unit it tells.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from noisezoo.builder.redaction import redact
from noisezoo.errors import describe

SUFFIX = ".jsonl"
LEVELS: Mapping[str, str] = {"failed": "error", "incomplete": "warning"}
"""Event -> level; any other is `info`."""
PLACES = {"rank": "RANK", "local_rank": "LOCAL_RANK", "world_size": "WORLD_SIZE", "launch_attempt":
          "TORCHELASTIC_RESTART_COUNT", "job": "SLURM_JOB_ID", "array_task": "SLURM_ARRAY_TASK_ID", "node":
          "SLURM_NODEID", "requeues": "SLURM_RESTART_COUNT"}  # fmt: skip
"""Field of the first line -> what the launcher or scheduler calls it; a process of neither has none of them."""
PLACE = {field: os.environ[name] for field, name in PLACES.items() if name in os.environ}
"""This process's, read before it takes its place in the launch out of the environment."""


class Log:
    """Append events to `folder/TIME-HOST-PID.jsonl`.

    Attributes:
        path: The file, created by this process: where the name is taken, as by the same pid in the same second after a
            requeue, a number is added.
        attempt: The file's name without suffix: what this run of this process is called in markers and in `status`.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = _new_file(folder)
        self.attempt = self.path.stem
        self._begun, self._torn = time.monotonic(), False
        self._about: dict[str, Any] = {}
        self.write("start", attempt=self.attempt, host=socket.gethostname(), pid=os.getpid(), **PLACE)

    def write(self, event: str, **fields: Any) -> None:
        """One line: the time, seconds since the first line by a clock that never jumps, level, event and its fields.

        A line that cannot be written, as on a full disk, goes to stderr: what it tells of must not fail for it.
        """
        head = {"time": round(time.time(), 3), "elapsed": round(time.monotonic() - self._begun, 3),
                "level": LEVELS.get(event, "info"), "event": event}  # fmt: skip
        line = json.dumps(redact({**head, **self._about, **fields}), default=str) + "\n"
        try:
            with self.path.open("a") as stream:
                stream.write("\n" + line if self._torn else line)
            self._torn = False
        except OSError as error:
            self._torn = True
            print(f"{self.path.name} cannot be written ({describe(error)}): {line}", end="", file=sys.stderr)

    @contextmanager
    def about(self, **fields: Any) -> Iterator[None]:
        """Say these fields (`view`, `slice`) in every line of the block, and after it in that of its exception."""
        before, self._about = self._about, {**self._about, **fields}
        yield
        self._about = before  # not reached by an exception: whoever catches it writes of the same unit


def _new_file(folder: Path) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    name = f"{stamp}-{socket.gethostname()}-{os.getpid()}"
    for number in count(1):
        path = folder / f"{name}{'' if number == 1 else f'-{number}'}{SUFFIX}"
        try:
            path.touch(exist_ok=False)
            return path
        except FileExistsError:
            continue
    raise AssertionError("counting never ends")


class Tail:
    """The events of all logs in a folder, each read once, however often it is asked.

    Attributes:
        seen: Attempt -> when its log last grew, in seconds of the epoch.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.seen = folder, dict[str, float]()
        self._read: dict[str, int] = {}

    def events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(attempt, event) of every whole line written since this was last asked, log by log."""
        for entry in _logs(self.folder):
            attempt, found = entry.name.removesuffix(SUFFIX), entry.stat()
            self.seen[attempt] = found.st_mtime
            start = self._read.get(attempt, 0)
            if found.st_size > start:
                with open(entry.path, "rb") as stream:
                    stream.seek(start)
                    whole = stream.read().rpartition(b"\n")[0]
                self._read[attempt] = start + len(whole) + bool(whole)
                yield from ((attempt, event) for event in parse(whole.decode(errors="replace")))


def _logs(folder: Path) -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if e.name.endswith(SUFFIX)), key=lambda entry: entry.name)
    except FileNotFoundError:
        return []


def parse(text: str) -> list[dict[str, Any]]:
    """The events of a log's text; a line that a killed process or a full disk cut short is passed over."""
    return [event for line in text.splitlines() if (event := _event(line)) is not None]


def _event(line: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except json.JSONDecodeError:
        return None
    return event if isinstance(event, dict) and {"time", "event"} <= event.keys() else None


def failures(folder: Path, since: float) -> list[str]:
    """Messages of the processes that failed after the moment `since` (seconds of the epoch), each once."""
    events = [event for _, event in Tail(folder).events()]
    return list(dict.fromkeys(e["message"] for e in events if e["event"] == "failed" and e["time"] >= since))
