"""How the loopback Hub speaks HTTP: one connection, from its request to its answer, or to the fault planted for it."""

import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub_api import ROUTES
from tests.hub_repos import HubError, Reply, Repo

if TYPE_CHECKING:
    from tests.hub_server import HubServer


@dataclass(frozen=True)
class Seen:
    """One request: `METHOD PATH`, its answer, body bytes in and out, and the file whose content was sent."""

    line: str
    status: int
    received: int
    sent: int
    file: str | None


class Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: "HubServer"


class Handler(BaseHTTPRequestHandler):
    """One connection. `keep` is the share of a body to send before breaking off, None for not even an answer."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def handle_any(self) -> None:
        """Answer one request: planted faults first, then the route."""
        self.keep: float | None = 1.0
        self.received, self.recorded = 0, False
        self.file: str | None = None
        try:
            self._send(self._reply())
        except ConnectionError:
            self._hang_up()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

    @property
    def hub(self) -> "HubServer":
        """The server's state."""
        return self.server.hub

    @property
    def user(self) -> str | None:
        """Who asks: None for nobody; a token that is not known, or no longer, is refused."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.hub.users:
            raise HubError(401, "", "Invalid credentials in Authorization header")
        return self.hub.users.get(token)

    def query(self, name: str) -> str:
        """A parameter of the address."""
        return parse_qs(urlsplit(self.path).query).get(name, [""])[0]

    def repo(self, kind: str | None, name: str, write: bool = False) -> Repo:
        """A repository that the user may see, or write to."""
        found, user = self.hub.repos.get(((kind or "models").rstrip("s"), name)), self.user
        if found is None or (found.private and user != "me"):
            raise HubError(404 if user else 401, "RepoNotFound", "Repository not found")
        if write and user != "me":
            raise HubError(403 if user else 401, "", "You don't have the rights to write to this repository")
        return found

    def refuse(self, status: int, headers: dict[str, str]) -> None:
        """Answer with a planted status."""
        self._read_body()
        raise HubError(status, "", f"planted {status}", headers)

    def drop(self) -> None:
        """Take half of the body and break off."""
        self.received = len(self.rfile.read(int(self.headers.get("Content-Length", 0)) // 2))
        raise ConnectionError("planted")

    def _reply(self) -> Reply:
        try:
            self.hub.strike(self)
            return self._route(self._read_body())
        except HubError as error:
            return error.reply

    def _route(self, body: bytes) -> Reply:
        line = f"{self.command} {urlsplit(self.path).path}"
        for pattern, answer in ROUTES:
            if found := re.fullmatch(pattern, line):
                parts = (None if part is None else unquote(part) for part in found.groups())
                with self.hub.lock:
                    value = answer(self, *parts, body)
                return value if isinstance(value, Reply) else Reply(200, _encoded(value))
        raise HubError(404, "", f"no such address: {line}")

    def _read_body(self) -> bytes:
        size = int(self.headers.get("Content-Length", 0))
        chunked = self.headers.get("Transfer-Encoding", "").lower() == "chunked"
        body = b"".join(self._chunks()) if chunked else self.rfile.read(size)
        self.received = len(body)
        if not chunked and len(body) < size:
            raise ConnectionError("the client is gone")
        return body

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().strip() or b"0", 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _send(self, reply: Reply) -> None:
        if self.keep is None:
            raise ConnectionError("planted")
        body = b"" if self.command == "HEAD" else reply.body[: int(len(reply.body) * self.keep)]
        self._record(reply.status, len(body))
        self.send_response(reply.status)
        for key, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)
        if self.keep < 1:
            raise ConnectionError("planted")

    def _record(self, status: int, sent: int) -> None:
        """Note the request before its answer leaves: a client that has the answer finds it counted."""
        self.recorded = True
        self.hub.seen.append(Seen(f"{self.command} {self.path}", status, self.received, sent, self.file))

    def _hang_up(self) -> None:
        """The client may have died first: that is what the tests are about."""
        self.close_connection = True
        if not self.recorded:
            self._record(0, 0)
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def log_message(self, *arguments: Any) -> None:
        """Nothing: tests read `seen`."""


def _encoded(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()
