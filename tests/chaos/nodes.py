"""Hosts on one machine: each has a name, process numbers and, where asked for, a network of its own."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from noisezoo.builder.engine.build import STATE
from noisezoo.builder.engine.leases import Lease
from noisezoo.builder.launch.local import launch_environment
from tests.chaos.hurried import GATE, waiting

ROOT = Path(__file__).parents[2]
PATIENCE = 240.0
"""Seconds for what takes ten on a quiet machine: most of it is imports."""

RETRIES = 5
"""Unanswered packets after which a connection is given up, within seconds; by Linux's own 15, in about 15 minutes."""

SEPARATE = ["unshare", *(() if os.geteuid() == 0 else ("--map-root-user",)),
            "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]  # fmt: skip
"""What gives a program a host name and process numbers of its own, and kills all that it started with it."""


@dataclass(frozen=True)
class Network:
    """What a host is wired to: a network namespace, and the address that others reach it by."""

    namespace: str
    address: str

    def cut(self) -> None:
        """Take its cable out: packets are lost without a word, as when a switch dies."""
        _ip("-n", self.namespace, "link", "set", self.namespace, "down")


@dataclass
class Node:
    """A host at work on a build.

    Attributes:
        name: What it calls itself.
        command: What it runs.
        output: Where its output goes.
        network: Its own, or None for this machine's.
    """

    name: str
    command: Sequence[str]
    output: Path
    network: Network | None = None
    process: "subprocess.Popen[bytes]" = field(init=False)

    def start(self, gate: Path) -> None:
        """Begin; processes of the build stop in the middle of it until the gate is there."""
        wire = ["ip", "netns", "exec", self.network.namespace] if self.network else []
        own = [*wire, *SEPARATE, "sh", "-c", 'hostname "$0" && exec "$@"', self.name, *self.command]
        environment = {**os.environ, **launch_environment(1, gpu=False), "PYTHONPATH": str(ROOT), GATE: str(gate)}
        with self.output.open("ab") as stream:
            self.process = subprocess.Popen(
                own, env=environment, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL
            )

    def lose_power(self) -> None:
        """All that runs on it is killed at once."""
        self.process.kill()
        self.process.wait()

    def ended(self, seconds: float) -> int:
        """Its exit code, which must come within so many seconds."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"{self.name} had not ended after {seconds:.0f} s: {self.said()}") from error

    def said(self) -> str:
        """The end of its output."""
        return self.output.read_text(errors="replace")[-2000:]


@contextmanager
def at_work(out: Path, nodes: Sequence[Node], gate: Path) -> Iterator[None]:
    """Start all, and let them work until each is in mid-build and owns a unit; who is left in the end is killed."""
    with ExitStack() as stack:
        for node in nodes:
            node.start(gate)
            stack.callback(node.lose_power)
        names = {node.name for node in nodes}
        wait_until(lambda: names == waiting(gate) or _any_ended(nodes), "not all came into mid-build")
        for node in nodes:
            assert node.process.poll() is None, f"{node.name} ended before it was in mid-build: {node.said()}"
        assert names <= owners(out)
        yield


def _any_ended(nodes: Sequence[Node]) -> bool:
    return any(node.process.poll() is not None for node in nodes)


def owners(out: Path) -> set[str]:
    """Hosts that own units."""
    found = (Lease(path).owner for path in (out / STATE / "claims").glob("*/*.json"))
    return {owner["host"] for owner in found if owner is not None}


def alone(recipe: Path, out: Path) -> list[str]:
    """One process that knows of no other, as each job of an array."""
    return [sys.executable, "-m", "tests.chaos.hurried", str(recipe), "--out", str(out)]


def joint(recipe: Path, out: Path, rank: int, machines: int, processes: int, address: str, port: int) -> list[str]:
    """One machine's part of an `accelerate launch` over several, with so many processes over all."""
    return [
        sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", str(machines),
        "--num_processes", str(processes), "--machine_rank", str(rank), "--main_process_ip", address,
        "--main_process_port", str(port), "--mixed_precision", "no", "--dynamo_backend", "no",
        *alone(recipe, out)[1:],
    ]  # fmt: skip


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_until(true: Callable[[], object], why: str, seconds: float = PATIENCE) -> None:
    """Look again and again until something holds; `why` says what did not happen."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{why} within {seconds:.0f} s")
        time.sleep(0.02)


@contextmanager
def wired() -> Iterator[tuple[Network, Network]]:
    """Two network namespaces joined by a cable, and to nothing else."""
    names = [f"nz{os.getpid()}{end}" for end in "ab"]
    with ExitStack() as stack:
        for name in names:
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "del", name)
        _ip("link", "add", names[0], "netns", names[0], "type", "veth", "peer", "name", names[1], "netns", names[1])
        networks = tuple(Network(name, f"10.77.0.{number}") for number, name in enumerate(names, 1))
        for each in networks:
            _ip("-n", each.namespace, "addr", "add", f"{each.address}/24", "dev", each.namespace)
            for link in ("lo", each.namespace):
                _ip("-n", each.namespace, "link", "set", link, "up")
            _run("ip", "netns", "exec", each.namespace, "sh", "-c", f"echo {RETRIES} > /proc/sys/net/ipv4/tcp_retries2")
        yield networks[0], networks[1]


def _ip(*command: str) -> None:
    _run("ip", *command)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def no_hosts() -> str:
    """Why there can be no hosts of their own here; empty where there can."""
    return _lacking(*SEPARATE, "hostname", "noisezoo-test")


def no_networks() -> str:
    """Why no networks can be joined here; empty where they can."""
    if (lacking := no_hosts()) or (lacking := _lacking("ip", "link", "show")):
        return lacking
    try:
        with wired():
            return ""
    except subprocess.CalledProcessError as error:
        return error.stderr.decode().strip() or str(error)


def _lacking(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return f"there is no {command[0]}"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stderr.strip() or f"{command[0]} fails") if done.returncode else ""
