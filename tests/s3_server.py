"""An S3 server (moto's) in a process of its own on the loopback interface, with faults on demand.

    with S3Server() as server:
        server.fail("503", 2, "PUT .*/claims/")

Run as a program it is the server: it prints its port, and a POST to `/faults` says what happens to which requests.
Only forked children may be its clients by obstore, whose threads a fork would not copy; this process asks by HTTP.
"""

import json
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

BUCKET = "builds"


class S3Server:
    """The server with one bucket; its environment lets this process's children find it."""

    def __enter__(self) -> "S3Server":
        self._process = subprocess.Popen([sys.executable, "-m", "tests.s3_server"], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        self.ask("PUT", f"/{BUCKET}")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to know."""
        return {"AWS_ENDPOINT_URL": self.url, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "me",
                "AWS_SECRET_ACCESS_KEY": "secret"}  # fmt: skip

    def ask(self, method: str, path: str, content: bytes = b"") -> bytes:
        """The answer to a request."""
        signed = {"Authorization": "AWS me:secret"}
        request = urllib.request.Request(self.url + path, content or None, signed, method=method)
        with urllib.request.urlopen(request) as answer:
            return bytes(answer.read())

    def fail(self, how: str, count: int, pattern: str) -> None:
        """Let the next `count` requests whose `METHOD PATH` matches fail: `503`, `lost`, or `unconditional`."""
        self.ask("POST", "/faults", json.dumps([how, count, pattern]).encode())

    def left(self) -> int:
        """How many faults did not happen yet."""
        return int(self.ask("GET", "/faults"))

    def keys(self, prefix: str) -> dict[str, int]:
        """Key behind the prefix -> bytes, of all objects."""
        listing = self.ask("GET", f"/{BUCKET}?list-type=2&max-keys=1000&prefix={prefix}/").decode()
        found = re.findall(r"<Key>(.*?)</Key>.*?<Size>(\d+)</Size>", listing, re.DOTALL)
        return {key.removeprefix(f"{prefix}/"): int(size) for key, size in found}


class Faulty:
    """The server's application behind one that lets requests fail."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self.application, self.faults = application, list[list[Any]]()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request, or let it fail."""
        line = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        if environ["PATH_INFO"] == "/faults":
            if environ["REQUEST_METHOD"] == "POST":
                self.faults.append(json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))))
            start_response("200 OK", [])
            return [str(sum(count for _, count, _ in self.faults)).encode()]
        fault = next((each for each in self.faults if each[1] and re.search(each[2], line)), ["", 0, ""])
        fault[1] -= 1
        if fault[0] == "503":
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("503 Slow Down", [("Content-Length", "0")])
            return []
        if fault[0] == "unconditional":
            environ.pop("HTTP_IF_NONE_MATCH", None)
            environ.pop("HTTP_IF_MATCH", None)
        if fault[0] == "lost":
            list(self.application(environ, lambda *_, **__: None))
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            start_response("204 No Content", [])  # nobody hears it
            return []
        return self.application(environ, start_response)


if __name__ == "__main__":
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        """Answers without a log."""

        protocol_version = "HTTP/1.1"

        def log(self, *_: Any) -> None:
            """Nothing."""

    os.environ["AWS_ACCESS_KEY_ID"] = os.environ["AWS_SECRET_ACCESS_KEY"] = "server"
    application = Faulty(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
    print(server.server_port, flush=True)
    with suppress(KeyboardInterrupt):
        server.serve_forever()
