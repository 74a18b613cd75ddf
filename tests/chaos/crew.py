"""Several processes on one build, some of which die: forked, so that a start costs no import."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import yaml

from noisezoo.builder import __main__ as entry
from noisezoo.builder.dataset.finish import is_finished
from noisezoo.builder.engine.build import STATE, open_build
from noisezoo.builder.recipe import Recipe
from tests.builder.building import digits_recipe, leftovers, parts, published
from tests.builder.test_interruption import STEPS, ending

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
ENDS = {signal.SIGKILL: {-9}, signal.SIGTERM: {143, -15}, signal.SIGINT: {130}}
"""Signal -> exit codes of who obeys it: its own, or the system's where it came before the process listened."""
LEFT = {0, 3}
"""Exit codes of who was not struck: it did its share, or it says what is missing. Nobody fails for another's death."""
STRUCK = "struck-"
"""Beside a dataset's folder, with a process's number: it came to the step of its death."""
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


@dataclass(frozen=True)
class Trial:
    """How many processes begin, how the first of them die, how many resume."""

    before: int
    deaths: tuple[Death, ...]
    after: int

    def __str__(self) -> str:
        ends = ", ".join(map(str, dict.fromkeys(self.deaths)))
        return f"{len(self.deaths)} of {self.before} die by {ends}; {self.after} resume"

    def run(self, recipe: Path, out: Path) -> list[int]:
        """Do it, and check all but the published bytes; the exit codes of those who began."""
        codes = crew(recipe, out, self.before, self.deaths)
        for code, death in zip(codes, [*self.deaths, *[None] * self.before], strict=False):
            assert code in LEFT | (ENDS[death.how] if death else set()), (
                f"exit code {code} of one who {death or 'lives'}"
            )
        kept = marked(out)
        crew(recipe, out, self.after)
        build = open_build(out)
        assert is_finished(build), "one run without deaths did not finish it"
        assert {path: parts(build)[path] for path in kept} == kept, "a unit with a valid marker was done again"
        left = [str(path.relative_to(out)) for path in traces(out)]
        assert not left, f"left about by the dead: {left}"
        return codes


def steps(seed: int, whole: bool) -> Iterator[Trial]:
    """Every named step by every signal: it strikes the first of a crew there, or the `whole` crew one by one."""
    for step in STEPS:
        for how in SIGNALS:
            rng = random.Random(f"{seed}/{step}/{how}/{whole}")
            before = rng.choice((2, 3))
            yield Trial(before, (Death(how, step),) * (before if whole else 1), _another(rng, before))


def instants(seed: int, count: int, span: float) -> Iterator[Trial]:
    """Seeded trials: how many start, which die, by what and when within `span` seconds, and how many resume."""
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        before = rng.choice((1, 2, 3))
        dying = rng.randint(1, before)
        deaths = tuple(Death(rng.choice(SIGNALS), after=rng.uniform(0, span)) for _ in range(dying))
        yield Trial(before, deaths, _another(rng, before))


def _another(rng: random.Random, before: int) -> int:
    return rng.choice([n for n in (1, 2, 3) if n != before])


def marked(out: Path) -> dict[Path, tuple[str, int]]:
    """Part -> its bytes' sha256 and when it was written, of the parts with a valid marker."""
    if not (out / STATE / "recipe.json").exists():
        return {}
    build = open_build(out)
    there = {unit.part for unit in build.all_units() if unit.marker() is not None}
    return {path: found for path, found in parts(build).items() if path in there}


def traces(out: Path) -> list[Path]:
    """Temporary files and leases, anywhere in a build's folder."""
    leases = [path for path in (out / STATE / "claims").rglob("*") if path.is_file() and path.suffix != ".map"]
    return [*leftovers(out), *leases]


def work(recipe: Path, out: Path, death: Death | None = None) -> None:
    """What a launched process does, its output thrown away; it ends itself where its death is at a step."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        with _ending(death, out) if death is not None and death.step is not None else nullcontext():
            entry.main([str(recipe)], [out])
    except KeyboardInterrupt:
        os._exit(130)


@contextmanager
def _ending(death: Death, out: Path) -> Iterator[None]:
    assert death.step is not None

    def strike() -> None:
        out.with_name(f"{STRUCK}{os.getpid()}").touch()
        os.kill(os.getpid(), death.how)

    with ending(death.step, strike, cut=death.how == signal.SIGKILL):
        yield


def struck(out: Path) -> int:
    """How many processes came to the step of their death; one that is told gently may still end with 0."""
    return len(list(out.parent.glob(f"{STRUCK}*")))


def crew(recipe: Path, out: Path, processes: int, deaths: tuple[Death, ...] = ()) -> list[int]:
    """Run processes on the build until all have ended, the first of them by these deaths; their exit codes."""
    fates = [*deaths, *[None] * (processes - len(deaths))]
    members = [FORK.Process(target=work, args=(recipe, out, death)) for death in fates]
    started = time.monotonic()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # until a member can say that it was struck
    for member in members:
        member.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    for member, death in sorted(_timed(members, fates), key=lambda pair: pair[1].after):
        time.sleep(max(0.0, started + death.after - time.monotonic()))
        if member.is_alive() and member.pid is not None:
            os.kill(member.pid, death.how)
    return [_ended(member, started + DEADLINE) for member in members]


def _timed(members: list[BaseProcess], fates: list[Death | None]) -> Iterator[tuple[BaseProcess, Death]]:
    for member, death in zip(members, fates, strict=True):
        if death is not None and death.step is None:
            yield member, death


def _ended(member: BaseProcess, deadline: float) -> int:
    member.join(max(0.0, deadline - time.monotonic()))
    if member.exitcode is None:
        member.kill()
        raise TimeoutError(f"a process had not ended {DEADLINE:.0f} s after its crew began")
    return member.exitcode


def write_recipe(recipe: Recipe, folder: Path) -> Path:
    """The recipe as a file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    return path


def timed(run: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    started = time.monotonic()
    run()
    return time.monotonic() - started


def undisturbed(recipe: Path, folder: Path) -> tuple[dict[str, str], float]:
    """The bytes of a build in which nobody dies, and the seconds that a crew of two takes for it.

    The first is built in this process, so that what all others import is there when they are forked.
    """
    entry.main([str(recipe)], [folder / "alone" / "noisezoo"])
    seconds = timed(lambda: crew(recipe, folder / "crew" / "noisezoo", 2))
    assert published(folder / "crew" / "noisezoo") == published(folder / "alone" / "noisezoo")
    return published(folder / "crew" / "noisezoo"), seconds
