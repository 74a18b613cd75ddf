"""Kill everywhere, in short: every named step by one of the signals, and some random instants of a crew."""

from pathlib import Path

import pytest

from noisezoo.builder.__main__ import run
from tests.builder.building import published
from tests.chaos.crew import RECIPE, SIGNALS, STEPS, Death, crew, instants, timed, trial, write_recipe


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(RECIPE, tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="module")
def undisturbed(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], float]:
    """The bytes of a build in which nobody dies, and how long it takes.

    The first is built in this process, so that what all others import is there when they are forked.
    """
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run(RECIPE, folder / "alone" / "noisezoo")
    seconds = timed(lambda: crew(recipe, folder / "crew" / "noisezoo", 2))
    assert published(folder / "crew" / "noisezoo") == published(folder / "alone" / "noisezoo")
    return published(folder / "crew" / "noisezoo"), seconds


@pytest.mark.parametrize(("number", "step"), enumerate(STEPS))
def test_a_crew_that_loses_a_member_at_any_step_and_resumes_with_another_number_gives_the_same_bytes(
    recipe: Path, undisturbed: tuple[dict[str, str], float], tmp_path: Path, number: int, step: str
) -> None:
    death = Death(SIGNALS[number % len(SIGNALS)], step)
    assert trial(recipe, tmp_path / "noisezoo", 2, (death,), 1 + 2 * (number % 2)) == undisturbed[0]


@pytest.mark.parametrize("number", range(6))
def test_a_crew_killed_at_a_random_instant_and_resumed_gives_the_same_bytes(
    recipe: Path, undisturbed: tuple[dict[str, str], float], tmp_path: Path, number: int
) -> None:
    expected, seconds = undisturbed
    before, deaths, after = list(instants(seed=0, count=number + 1, span=seconds))[number]
    assert trial(recipe, tmp_path / "noisezoo", before, deaths, after) == expected
