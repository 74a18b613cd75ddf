"""Hosts that die and links that are cut in mid-build: each trial takes a folder and says how long the rest took.

All hosts but those of `resumed_here` have names of their own, so that a dead one's leases expire by its silence.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from noisezoo.builder.dataset.finish import is_finished
from noisezoo.builder.engine.build import open_build
from tests.builder.building import digits_recipe, parts, published
from tests.chaos.crew import crew, marked, traces
from tests.chaos.hurried import EXPIRES_AFTER, HEARTBEAT_SECONDS, hurried
from tests.chaos.nodes import Network, Node, alone, at_work, free_port, joint, wired

RECIPE = digits_recipe(("random-64", "pixels-8"), limit=32)
BARRIER = 300.0
"""Seconds that torchrun, under accelerate, keeps a launcher waiting for another machine's, after its own work."""
LEAVING = 150.0
"""Seconds more that a host may take to end: its launcher's own, and until it gives up a dead connection."""


@dataclass(frozen=True)
class Site:
    """Where a trial takes place: the recipe's file, the dataset's folder, what must be published in the end."""

    recipe: Path
    folder: Path
    expected: dict[str, str]

    @property
    def out(self) -> Path:
        """The dataset's folder."""
        return self.folder / "noisezoo"

    @property
    def gate(self) -> Path:
        """The file that those who are held in mid-build wait for."""
        return self.folder / "gate"

    def joined(self, processes: int, networks: tuple[Network, Network] | None = None) -> list[Node]:
        """Two machines of one `accelerate launch`."""
        address, port = networks[0].address if networks else "127.0.0.1", free_port()
        return [
            Node(f"node-{k}", joint(self.recipe, self.out, k, 2, processes, address, port), self.folder / f"{k}.out",
                 networks[k] if networks else None)
            for k in range(2)
        ]  # fmt: skip

    def separate(self, networks: tuple[Network, Network]) -> list[Node]:
        """Two machines that know nothing of each other."""
        command = alone(self.recipe, self.out)
        return [Node(f"node-{k}", command, self.folder / f"{k}.out", networks[k]) for k in range(2)]

    def resumed_here(self, processes: int) -> None:
        """Go on on this machine with so many processes, and check what is published."""
        kept = marked(self.out)
        with hurried():
            crew(self.recipe, self.out, processes)
        found = parts(open_build(self.out))
        assert {path: found[path] for path in kept} == kept, "a unit with a valid marker was done again"
        self.check()

    def check(self) -> None:
        """The dataset stands, as it must, and nothing else is there."""
        assert is_finished(open_build(self.out)), "the build is not finished"
        assert published(self.out) == self.expected, "other bytes than the undisturbed build's"
        assert traces(self.out) == [], "something of the dead was left about"


def wait_for_silence() -> None:
    """Wait as long as dead hosts pass for living and other processes leave their units to them."""
    time.sleep(EXPIRES_AFTER + HEARTBEAT_SECONDS)


def all_lose_power(site: Site) -> str:
    """Both machines of a launch die, one after the other; one other machine resumes."""
    nodes = site.joined(2)
    with at_work(site.out, nodes, site.gate):
        done = marked(site.out)
        nodes[0].lose_power()
        nodes[1].lose_power()
    assert len(done) >= 2 and done.items() <= marked(site.out).items()
    wait_for_silence()
    site.resumed_here(3)
    return f"{len(done)} units stayed"


def loses_power(site: Site, victim: int) -> str:
    """One machine of a launch dies: the other ends; what it left to the dead, which pass for living, one resumes."""
    nodes = site.joined(4)
    with at_work(site.out, nodes, site.gate):
        nodes[victim].lose_power()
        said = _others_end(site, nodes[1 - victim])
    left = len(open_build(site.out).pending())
    wait_for_silence()
    site.resumed_here(1)
    return f"{said}, {left} units left for the next run"


def _others_end(site: Site, *others: Node) -> str:
    """Let them go on: their launchers end within torchrun's barrier."""
    site.gate.touch()
    begun = time.monotonic()
    codes = [other.ended(BARRIER + LEAVING) for other in others]
    return f"launchers ended {codes} after {time.monotonic() - begun:.0f} s"


def launch_loses_its_link(site: Site) -> str:
    """The cable between both machines of a launch is cut: both go on, and end."""
    with wired() as networks:
        nodes = site.joined(4, networks)
        with at_work(site.out, nodes, site.gate):
            networks[0].cut()
            said = _others_end(site, *nodes)
    site.check()
    return said


def launch_dies_with_its_link_cut(site: Site) -> str:
    """The cable is cut and then both die: what is done stays, and one machine without a network resumes."""
    with wired() as networks:
        nodes = site.joined(4, networks)
        with at_work(site.out, nodes, site.gate):
            networks[1].cut()
            done = marked(site.out)
        assert len(done) >= 2 and done.items() <= marked(site.out).items()
        last = Node("node-2", alone(site.recipe, site.out), site.folder / "2.out", networks[1])
        site.gate.touch()
        wait_for_silence()
        last.start(site.gate)
        code = last.ended(LEAVING)
        assert code == 0, last.said()
    site.check()
    return f"{len(done)} units stayed"


def separate_machines_lose_their_link(site: Site) -> str:
    """The cable between two machines that work each for itself is cut: nothing changes."""
    with wired() as networks:
        nodes = site.separate(networks)
        with at_work(site.out, nodes, site.gate):
            networks[0].cut()
            site.gate.touch()
            codes = [node.ended(LEAVING) for node in nodes]
    assert codes == [0, 0]
    site.check()
    return "nobody noticed"


OUTAGES: dict[str, Callable[[Site], str]] = {
    "both machines of a launch lose power": all_lose_power,
    "the first machine of a launch loses power": lambda site: loses_power(site, 0),
    "the second machine of a launch loses power": lambda site: loses_power(site, 1),
    "the link of a launch is cut": launch_loses_its_link,
    "the link of a launch is cut and then it dies": launch_dies_with_its_link_cut,
    "the link between separate machines is cut": separate_machines_lose_their_link,
}
