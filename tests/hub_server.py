"""A Hub on the loopback interface: the HTTP API that huggingface_hub and datasets use, with faults on demand.

    with HubServer() as server, client(server) as api:
        api.create_repo("me/data", repo_type="dataset", private=True)
        server.fail(2, status=503, retry_after=1, match="/commit/")

Everything lies in memory. huggingface_hub reads its endpoint at import: `client` serves this process, `server.run` and
`server.start` run code in another one. What a client sent and got is in `server.seen`.
"""

import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.fresh import Fresh
from tests.hub_handler import Handler, Seen, Server
from tests.hub_repos import Repo

TOKEN, STRANGER = "hf_owner", "hf_stranger"
"""The token of `me`, who owns every repository, and that of `you`, who owns none."""
QUIET = "HF_DATASETS_DISABLE_PROGRESS_BARS"


@dataclass
class Fault:
    """What happens to the next `left` requests whose `METHOD PATH` the pattern finds."""

    pattern: re.Pattern[str]
    left: int
    act: "Callable[[Handler, Fault], None]"
    skip: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def takes(self, line: str) -> bool:
        """Whether this request is one of them; it is then counted."""
        if not self.left or not self.pattern.search(line):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.left -= 1
        return True


class HubServer:
    """The server, its repositories and its faults; `page` is the number of entries in one page of a tree.

    The store of large files has an address on another host, as on the Hub: clients send no token there.
    """

    def __init__(self, page: int = 1000) -> None:
        self.page = page
        self.repos: dict[tuple[str, str], Repo] = {}
        self.users = {TOKEN: "me", STRANGER: "you"}
        self.seen: list[Seen] = []
        self.lock = threading.RLock()
        self._faults: list[Fault] = []
        self._http = Server(("127.0.0.1", 0), Handler)
        self._http.hub = self
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self.store_url = f"http://localhost:{self._http.server_port}"

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.clear()
        self._http.shutdown()
        self._http.server_close()

    def repo(self, name: str, kind: str = "dataset") -> Repo:
        """A repository that was made."""
        return self.repos[kind, name]

    def fail(self, n: int = 1, *, status: int = 503, retry_after: int | None = None, match: str = "") -> Fault:
        """Refuse the next `n` matching requests with `status`."""
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        return self._plant(match, n, lambda handler, fault: handler.refuse(status, headers))

    def drop(self, n: int = 1, *, match: str = "^PUT /lfs/") -> Fault:
        """Break the connection in the middle of the next `n` matching uploads."""
        return self._plant(match, n, lambda handler, fault: handler.drop())

    def truncate(self, n: int = 1, *, match: str = "^GET /cdn/") -> Fault:
        """Send half of the body of the next `n` matching downloads, then break the connection."""
        return self._plant(match, n, lambda handler, fault: setattr(handler, "keep", 0.5))

    def lose(self, n: int = 1, *, match: str = "/commit/") -> Fault:
        """Do what the next `n` matching requests ask for, and break the connection instead of answering."""
        return self._plant(match, n, lambda handler, fault: setattr(handler, "keep", None))

    def hold(self, match: str, n: int = 1, *, after: int = 0) -> Fault:
        """Keep `n` matching requests, `after` others, waiting until `released` is set; `reached`: one waits."""
        fault = self._plant(match, n, lambda handler, fault: _wait(fault))
        fault.skip = after
        return fault

    def expire(self, token: str = TOKEN, *, match: str | None = None) -> None:
        """From now on the token is refused, or from the next matching request on."""
        if match is None:
            self.users.pop(token, None)
        else:
            self._plant(match, 1, lambda handler, fault: self.expire(token))

    def clear(self) -> None:
        """Take back faults that have not struck, and let go of what is held."""
        with self.lock:
            for fault in self._faults:
                fault.left = 0
                fault.released.set()

    def lines(self, match: str = "") -> list[str]:
        """`METHOD PATH STATUS` of the requests seen, in order."""
        return [f"{seen.line} {seen.status}" for seen in list(self.seen) if re.search(match, seen.line)]

    def downloaded(self) -> Counter[str]:
        """Path in its repository -> bytes of content sent."""
        return _total((seen.file, seen.sent) for seen in list(self.seen) if seen.file and seen.sent)

    def uploaded(self) -> Counter[str]:
        """SHA-256 -> bytes received for the LFS store, those of broken uploads included."""
        puts = re.compile("PUT /lfs/.*/")
        return _total((puts.sub("", seen.line), seen.received) for seen in list(self.seen) if puts.match(seen.line))

    def environment(self, home: Path, token: str | None = TOKEN) -> dict[str, str]:
        """What a child process needs to have this server for the Hub, with caches of its own under `home`."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        switches = ("HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS", QUIET)
        own = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), **dict.fromkeys(switches, "1")}
        return inherited | own | ({"HF_TOKEN": token} if token else {})

    def start(self, code: str, home: Path, token: str | None = TOKEN) -> Fresh:
        """A Python process that runs `code` with this server for the Hub."""
        return Fresh(code, environment=self.environment(home, token))

    def run(self, code: str, home: Path, token: str | None = TOKEN) -> str:
        """What `code` printed in a process of its own; fails with its traceback."""
        child = self.start(code, home, token)
        out, err = child.communicate()
        assert child.poll() == 0, err
        return out.strip()

    def strike(self, handler: Handler) -> None:
        """Let the faults act that are planted for a request."""
        line = f"{handler.command} {handler.path}"
        with self.lock:
            found = [fault for fault in self._faults if fault.takes(line)]
        for fault in found:
            fault.reached.set()
            fault.act(handler, fault)

    def _plant(self, match: str, n: int, act: "Callable[[Handler, Fault], None]") -> Fault:
        fault = Fault(re.compile(match), n, act)
        with self.lock:
            self._faults.append(fault)
        return fault


def _wait(fault: Fault) -> None:
    fault.released.wait(60)


def _total(pairs: Iterator[tuple[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for key, value in pairs:
        total[key] += value
    return total


@contextmanager
def client(server: HubServer, token: str | None = TOKEN) -> Iterator[Any]:
    """`HfApi` of this process against the server: online and without Xet, whatever the process was started with."""
    from huggingface_hub import HfApi, constants

    with patch.object(constants, "HF_HUB_OFFLINE", False), patch.object(constants, "HF_HUB_DISABLE_XET", True):
        yield HfApi(endpoint=server.url, token=token or False)
