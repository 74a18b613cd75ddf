"""A process's log: one JSON object a line, in a file of its own that nothing overwrites and no secret enters.

The first line says which process writes (host, pid, rank, attempt). Every line says when, its level, the seconds since
the first line and, inside `about`, its unit.
"""

import json
import logging
import os
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from noisezoo.builder.redaction import redact
from noisezoo.errors import describe
from .store import LOCAL, Store

SUFFIX, UNIT = ".jsonl", "unit"
LEVELS = {"failed": "error", "incomplete": "warning", "shortage": "warning", "library": "warning"}
"""Event -> level; any other event is `info`."""

LIBRARIES = ("", "diffusers", "transformers")
"""Loggers that libraries warn through: the root, and those that pass nothing on to it."""

PLACES = {
    "rank": "RANK", "local_rank": "LOCAL_RANK", "world_size": "WORLD_SIZE", "job": "SLURM_JOB_ID",
    "launch_attempt": "TORCHELASTIC_RESTART_COUNT", "array_task": "SLURM_ARRAY_TASK_ID", "node": "SLURM_NODEID",
    "requeues": "SLURM_RESTART_COUNT",
}  # fmt: skip
"""Field of the first line -> the launcher's or scheduler's variable for it."""
PLACE = {field: os.environ[name] for field, name in PLACES.items() if name in os.environ}
"""This process's place, read before it takes its place in the launch out of the environment."""


class Log:
    """Append events to `folder/TIME-HOST-PID-RANDOM.jsonl`.

    Attributes:
        path: The file, on this machine.
        attempt: The file's name without suffix: what markers and `status` call this run of this process.
    """

    def __init__(self, folder: Path, store: Store = LOCAL) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._store = store
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")  # names are in the order of starts
        self.attempt = f"{stamp}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self.path = folder / f"{self.attempt}{SUFFIX}"
        self._begun, self._torn = time.monotonic(), False
        self._about: dict[str, Any] = {}
        self.write("start", attempt=self.attempt, host=socket.gethostname(), pid=os.getpid(), **PLACE)

    def write(self, event: str, **fields: Any) -> None:
        """Append one line: the time, seconds by a clock that never jumps, level, event and fields.

        A line that cannot be written, as on a full disk, goes to stderr: the work must not fail for it. Where sharing
        the file sends all of it, lines of units wait for the next other line.
        """
        head = {"time": round(time.time(), 3), "elapsed": round(time.monotonic() - self._begun, 3),
                "level": LEVELS.get(event, "info"), "event": event}  # fmt: skip
        line = json.dumps(redact({**head, **self._about, **fields}), default=str) + "\n"
        try:
            with self.path.open("a") as stream:
                stream.write("\n" + line if self._torn else line)
            self._torn = False
            if event != UNIT:
                self.share()
        except OSError as error:
            self._torn = True
            print(f"{self.path.name} cannot be written ({describe(error)}): {line}", end="", file=sys.stderr)

    def share(self) -> None:
        """Let other machines see all that was written."""
        self._store.share(self.path)

    @contextmanager
    def about(self, **fields: Any) -> Iterator[None]:
        """Add these fields (`view`, `slice`) to every line of the block, and to the line of its exception."""
        before, self._about = self._about, {**self._about, **fields}
        yield
        self._about = before  # an exception skips this, as its catcher writes about the same unit


class _Relay(logging.Handler):
    """Writes each distinct warning of a library as one event."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log, self._said = log, set[str]()

    def emit(self, record: logging.LogRecord) -> None:
        """Write `library: message`, cut to one line of 300 characters."""
        message = f"{record.name}: {' '.join(record.getMessage().split())}"[:300]
        if message not in self._said:
            self._said.add(message)
            self._log.write("library", message=message)


@contextmanager
def library_warnings(log: Log) -> Iterator[None]:
    """Write what libraries only log (a warning or worse) as `library` events, which the launch shows at its end."""
    relay, loggers = _Relay(log), [logging.getLogger(name) for name in LIBRARIES]
    for logger in loggers:
        logger.addHandler(relay)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(relay)


class Tail:
    """The events of all logs in a folder, each read once, however often they are asked for.

    Attributes:
        seen: Attempt -> when its log last grew, in seconds of the epoch.
    """

    def __init__(self, folder: Path, store: Store = LOCAL) -> None:
        self.folder, self.seen = folder, dict[str, float]()
        self._store, self._read = store, dict[str, int]()

    def events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(attempt, event) of every whole line written since the last call, log by log."""
        sizes = self._store.sizes(self.folder)
        for name in sorted(name for name in sizes if name.endswith(SUFFIX)):
            (size, time), start, attempt = sizes[name], self._read.get(name, 0), name.removesuffix(SUFFIX)
            self.seen[attempt] = time
            if size > start:
                whole = self._store.tail(self.folder / name, start).rpartition(b"\n")[0]
                self._read[name] = start + len(whole) + bool(whole)
                yield from ((attempt, event) for event in parse(whole.decode(errors="replace")))


def parse(text: str) -> list[dict[str, Any]]:
    """The events of a log's text, without lines that a killed process or a full disk cut short."""
    events = []
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(event, dict) and {"time", "event"} <= event.keys():
            events.append(event)
    return events


def failures(folder: Path, since: float, event: str = "failed", store: Store = LOCAL) -> list[str]:
    """Messages of the processes that failed after the moment `since` (seconds of the epoch), each once.

    With `event="incomplete"`, of those that left something for a next run.
    """
    events = [found for _, found in Tail(folder, store).events()]
    return list(dict.fromkeys(e["message"] for e in events if e["event"] == event and e["time"] >= since))
