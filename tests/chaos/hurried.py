"""A process of a build that takes silent hosts for dead within seconds, and that can be held in mid-build.

`python -m tests.chaos.hurried RECIPE --out DIR` does what `python -m noisezoo.builder` does. Where the environment
names a gate, a file, the process stops before its second commit, owning its lease, says so by a file beside the gate,
and waits for the gate: whatever then happens to it or to its host happens in mid-build, however fast the machine is.
"""

import os
import runpy
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from noisezoo.builder.engine import leases, worker

GATE = "NOISEZOO_TEST_GATE"
HEARTBEAT_SECONDS = 0.5
"""Seconds between two heartbeats; the monitor takes a host for dead after three."""
EXPIRES_AFTER = 4.0
"""Seconds of silence after which any process does."""


@contextmanager
def hurried(gate: Path | None = None) -> Iterator[None]:
    """In this process and those forked from it, short silences count, and commits wait for the gate."""
    with ExitStack() as stack:
        for module in (leases, worker):
            stack.enter_context(patch.object(module, "HEARTBEAT_SECONDS", HEARTBEAT_SECONDS))
        stack.enter_context(patch.object(leases, "EXPIRES_AFTER", EXPIRES_AFTER))
        if gate is not None:
            stack.enter_context(patch.object(worker, "commit", _behind(gate)))
        yield


def _behind(gate: Path) -> Any:
    commit, calls = worker.commit, 0

    def held(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            gate.with_name(f"at-the-gate.{socket.gethostname()}").touch()
        while calls > 1 and not gate.exists():
            time.sleep(0.02)
        commit(*arguments)

    return held


def waiting(gate: Path) -> set[str]:
    """Hosts of which a process has come to the gate."""
    return {path.name.partition(".")[2] for path in gate.parent.glob("at-the-gate.*")}


if __name__ == "__main__":
    with hurried(Path(os.environ[GATE]) if GATE in os.environ else None):
        runpy.run_module("noisezoo.builder", run_name="__main__", alter_sys=True)
