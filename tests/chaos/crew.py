"""Several processes on one build, some of which die: forked, so that a start costs no import."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import yaml

from noisezoo.builder import __main__ as entry
from noisezoo.builder.build import STATE, open_build
from noisezoo.builder.dataset import is_finished
from noisezoo.builder.recipe import Recipe
from tests.builder.building import digits_recipe, leftovers, published
from tests.builder.test_interruption import STEPS, ending

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
DEADLINE = 90.0
"""Seconds after which a crew that has not ended is a fault: nothing may wait for a dead sibling."""
RECIPE = digits_recipe(("pixels-8-whitened", "digits-ddpm"), limit=48)
FORK = get_context("fork")


@dataclass(frozen=True)
class Death:
    """One process's end: at a named step of its own, or so many seconds after the start."""

    how: signal.Signals
    step: str | None = None
    after: float = 0.0

    def __str__(self) -> str:
        when = f"at {self.step!r}" if self.step else f"after {self.after:.3f} s"
        return f"{self.how.name} {when}"


def work(recipe: Path, out: Path, death: Death | None = None) -> None:
    """What a launched process does, its output thrown away; it ends itself where its death is at a step."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    if death is None or death.step is None:
        entry.main([str(recipe)], [out])
        return
    with ending(death.step, lambda: os.kill(os.getpid(), death.how), cut=death.how == signal.SIGKILL):
        entry.main([str(recipe)], [out])


def crew(recipe: Path, out: Path, processes: int, deaths: tuple[Death, ...] = ()) -> list[int | None]:
    """Run processes on the build until all have ended, the first of them by these deaths; their exit codes."""
    fates = [*deaths, *[None] * (processes - len(deaths))]
    members = [FORK.Process(target=work, args=(recipe, out, death)) for death in fates]
    started = time.monotonic()
    for member in members:
        member.start()
    for member, death in sorted(_timed(members, fates), key=lambda pair: pair[1].after):
        time.sleep(max(0.0, started + death.after - time.monotonic()))
        if member.is_alive() and member.pid is not None:
            os.kill(member.pid, death.how)
    return [_ended(member, started + DEADLINE) for member in members]


def _timed(members: list[BaseProcess], fates: list[Death | None]) -> Iterator[tuple[BaseProcess, Death]]:
    for member, death in zip(members, fates, strict=True):
        if death is not None and death.step is None:
            yield member, death


def _ended(member: BaseProcess, deadline: float) -> int | None:
    member.join(max(0.0, deadline - time.monotonic()))
    if member.is_alive():
        member.kill()
        raise TimeoutError(f"a process had not ended {DEADLINE:.0f} s after its crew began")
    return member.exitcode


def write_recipe(recipe: Recipe, folder: Path) -> Path:
    """The recipe as a file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    return path


def resumed(recipe: Path, out: Path, processes: int, attempts: int = 3) -> None:
    """Run crews without deaths until the dataset stands; the first may find units held by those who died with it."""
    for _ in range(attempts):
        if (out / STATE / "recipe.json").exists() and is_finished(open_build(out)):
            return
        crew(recipe, out, processes)
    assert is_finished(open_build(out)), f"{out} is not finished after {attempts} more runs"


def trial(recipe: Path, out: Path, before: int, deaths: tuple[Death, ...], after: int) -> dict[str, str]:
    """Start `before` processes of which some die, resume with `after`; the published bytes, nothing left about."""
    crew(recipe, out, before, deaths)
    resumed(recipe, out, after)
    assert leftovers(out) == [], f"temporary files after {', '.join(map(str, deaths))}"
    claims = [path for path in (out / STATE / "claims").rglob("*") if path.is_file()]
    assert claims == [], f"claims after {', '.join(map(str, deaths))}"
    return published(out)


def instants(seed: int, count: int, span: float) -> Iterator[tuple[int, tuple[Death, ...], int]]:
    """Seeded trials: how many start, which die, by what and when within `span` seconds, and how many resume."""
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        before = rng.choice((1, 2, 3))
        dying = rng.randint(1, before)
        deaths = tuple(Death(rng.choice(SIGNALS), after=rng.uniform(0, span)) for _ in range(dying))
        yield before, deaths, rng.choice([n for n in (1, 2, 3) if n != before])


def timed(run: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    started = time.monotonic()
    run()
    return time.monotonic() - started


__all__ = ["RECIPE", "SIGNALS", "STEPS", "Death", "crew", "instants", "resumed", "timed", "trial", "write_recipe"]
