"""Checks before any work: the place in the launch, a shared folder of this version, software and device as at first.

Equal bytes need equal software and one kind of device. The build records the software and device it was started with;
a process that differs is refused with the list of differences.
"""

import os
import socket
import uuid
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from noisezoo.builder.models import check_arithmetic
from noisezoo.builder.recipe import Recipe
from noisezoo.errors import UsageError
from .build import STATE, Build, prepare
from .commit import device_name, software
from .store import Store, find_store

FORMAT = 1
"""Version of the build's state; raised whenever an older NoiseZoo could misread what a newer one wrote."""

BEGUN, DEVICE = "begun.json", "device.json"

JOINING = ("LOCAL_RANK", "RANK", "WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""With these variables accelerate would make the processes meet, and wait for one that died before."""


@dataclass(frozen=True)
class Place:
    """A process's place among all of its launch and among those of its node; alone where no launcher started it."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1


def take_place() -> Place:
    """Read this process's place from the launcher's environment, take the device that goes with it, and stand alone.

    No process needs another, so none may wait: the variables that would make them meet are removed.

    Raises:
        UsageError: RANK, WORLD_SIZE, ... is not an integer, or they contradict each other, or there are more processes
            than GPUs.
    """
    import torch

    place = Place(
        **{each.name: _number(each.name.upper()) for each in fields(Place) if each.name.upper() in os.environ}
    )
    told = ", ".join(f"{name.upper()}={value}" for name, value in vars(place).items())
    if not (0 <= place.rank < place.world_size and 0 <= place.local_rank < place.local_world_size <= place.world_size):
        raise UsageError(f"the launcher's numbers contradict each other: {told}; start with `accelerate launch`")
    gpus = torch.cuda.device_count()
    if gpus and place.local_world_size > gpus:
        raise UsageError(
            f"{place.local_world_size} processes on {socket.gethostname()}, which shows {gpus} GPUs: "
            f"launch {gpus} processes a node"
        )
    if gpus:
        torch.cuda.set_device(place.local_rank)
        os.environ["ACCELERATE_TORCH_DEVICE"] = f"cuda:{place.local_rank}"
    for name in JOINING:
        os.environ.pop(name, None)
    return place


def _number(name: str) -> int:
    try:
        return int(os.environ[name])
    except ValueError as error:
        raise UsageError(f"{name}={os.environ[name]} is not an integer: start with `accelerate launch`") from error


def opened(recipe: Recipe, place: str | Path | Store, expected: str | None = None) -> Build:
    """Prepare the build, after a check that this version and this host may work there.

    Args:
        recipe: The recipe.
        place: The dataset's folder.
        expected: The identity of the build that must already be there; None lets the place be a new one.

    Raises:
        UsageError: The build is a newer version's, or this host does not see the expected build.
    """
    store = find_store(place)
    begun = store.read_json(store.root / STATE / BEGUN)
    if begun is not None and begun["format"] > FORMAT:
        raise UsageError(
            f"{store.name} is a build of noisezoo {begun['software']['noisezoo']}, format {begun['format']}; this is "
            f"noisezoo {software()['noisezoo']}, which reads format {FORMAT}: install the newer version"
        )
    if expected is not None and (begun is None or begun["id"] != expected):
        found = "nothing" if begun is None else f"build {begun['id']}"
        raise UsageError(
            f"host {socket.gethostname()} finds {found} in {store.name}, where build {expected} was prepared: "
            "put the folder on a file system that every node mounts at this path"
        )
    return prepare(recipe, store)


def identity(build: Build) -> str:
    """The build's id, which a folder of the same path on a host that does not share it would lack."""
    return str(_begun(build)["id"])


def lease_creation(build: Build) -> str:
    """How the build's leases are created: by `hard links` or by `exclusive creation`."""
    return str(_begun(build).get("leases", "hard links"))


def admit(build: Build, *, mixed: bool = False) -> None:
    """Check this process's software against that of the build's first process.

    Args:
        build: The build.
        mixed: From now on admit any software and any kind of device; the markers say which did what.

    Raises:
        UsageError: The build was started with other versions; each is named.
    """
    begun = _begun(build)
    if mixed and not begun["mixed"]:
        begun = begun | {"mixed": True}
        build.store.write_json(build.state / BEGUN, begun)
    here = software()
    differs = [
        f"{name} {begun['software'].get(name, 'missing')} there and {here.get(name, 'missing')} here"
        for name in sorted(begun["software"] | here)
        if begun["software"].get(name) != here.get(name)
    ]
    if differs and not begun["mixed"]:
        raise UsageError(
            f"{build.store.name} was begun with other software than {socket.gethostname()} has: {', '.join(differs)}. "
            "Install what it was begun with, choose another --out, or say --mixed to give up equal bytes"
        )


def admit_device(build: Build) -> None:
    """Check this process's kind of device against that of the build's first process.

    Raises:
        UsageError: The first process had another kind, both are named; or the device lacks what the recipe asks for.
    """
    from accelerate import PartialState

    s = build.recipe.settings
    if any(view.repo for view in build.views):
        check_arithmetic(s.dtype or "float32", PartialState().device, compiled=bool(s.compile))
    here = {"device": device_name(), "host": socket.gethostname()}
    first = build.first(DEVICE, lambda: here)
    if first["device"] != here["device"] and not _begun(build)["mixed"]:
        raise UsageError(
            f"{build.store.name} is being built on {first['device']} (host {first['host']}), and {here['host']} has "
            f"{here['device']}: ask for one kind (--constraint), or say --mixed to give up equal bytes"
        )


def _begun(build: Build) -> dict[str, Any]:
    fresh = {"format": FORMAT, "id": uuid.uuid4().hex, "software": software(), "mixed": False}
    return build.first(BEGUN, lambda: {**fresh, "leases": build.store.creation(build.state)})
