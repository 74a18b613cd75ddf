"""A process's log: one JSON object a line, in a file of its own that nothing overwrites."""

import json
import os
import socket
import time
from pathlib import Path
from typing import Any


class Log:
    """Append events to `folder/TIME-HOST-PID.jsonl`; the name makes every attempt's log its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self.path = folder / f"{stamp}-{socket.gethostname()}-{os.getpid()}.jsonl"

    def write(self, event: str, **fields: Any) -> None:
        """One line: the time, the event and its fields."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **fields})
        with self.path.open("a") as stream:
            stream.write(line + "\n")


def failures(folder: Path, since: float) -> list[str]:
    """Messages of the processes that failed after the moment `since` (seconds of the epoch).

    A line that a killed process or a full disk cut short is passed over.
    """
    found = []
    for path in sorted(folder.glob("*.jsonl")):
        events = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
        found += [e["message"] for e in events if e["event"] == "failed" and e["time"] >= since]
    return list(dict.fromkeys(found))
