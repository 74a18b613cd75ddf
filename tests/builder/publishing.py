"""What the tests of publishing share: a dataset on its way to a loopback Hub, and what is to be seen there."""

import json
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from noisezoo.builder.dataset.publish import Published, publish
from noisezoo.errors import NoiseZooError
from noisezoo.files import sha256_of
from noisezoo.record import RECORD
from tests.builder.building import published as files_of
from tests.hub_server import TOKEN, HubServer

REPO = "me/noisezoo"


def passes(folder: Path) -> None:
    """A check that finds nothing."""


def send(folder: Path, server: HubServer, token: str = TOKEN, **options: Any) -> Published:
    return publish(folder, REPO, **{"check": passes, "token": token, "endpoint": server.url, **options})


def held(server: HubServer) -> dict[str, bytes]:
    """Path -> content of what `main` shows, but the repository's own attributes."""
    tree = server.repo(REPO).head.tree
    return {path: blob.data for path, blob in tree.items() if path != ".gitattributes"}


def of(folder: Path) -> dict[str, bytes]:
    return {path: (folder / path).read_bytes() for path in files_of(folder)}


def versions(server: HubServer) -> list[str]:
    """Titles of the commits that publishing made."""
    return [commit.title for commit in server.repo(REPO).commits.values() if commit.title.startswith("Version")]


def refusal(folder: Path, server: HubServer, kind: type[NoiseZooError] = NoiseZooError, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        send(folder, server, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def recorded(folder: Path, **files: bytes) -> None:
    """Write files into a finished dataset, and into its record."""
    record = folder / RECORD
    value = json.loads(record.read_text())
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
        value["files"][path] = {"sha256": sha256_of(folder / path), "bytes": len(data)}
    record.write_text(json.dumps(value))


def until(condition: Callable[[], bool]) -> None:
    assert any(condition() or Event().wait(0.01) for _ in range(3000))
