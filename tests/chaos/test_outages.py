"""Two hosts on one build, in short: a launch over both that dies, and a link that is cut."""

from pathlib import Path

import pytest

from tests.chaos.crew import undisturbed, write_recipe
from tests.chaos.nodes import no_hosts, no_networks
from tests.chaos.outages import RECIPE, Site, all_lose_power, separate_machines_lose_their_link


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("reference")
    recipe = write_recipe(RECIPE, folder)
    return recipe, undisturbed(recipe, folder)[0]


@pytest.fixture
def site(reference: tuple[Path, dict[str, str]], tmp_path: Path) -> Site:
    return Site(reference[0], tmp_path, reference[1])


@pytest.mark.slow
@pytest.mark.skipif(bool(no_hosts()), reason=no_hosts())
def test_a_launch_over_two_machines_that_lose_power_is_finished_by_one_other(site: Site) -> None:
    all_lose_power(site)


@pytest.mark.skipif(bool(no_networks()), reason=no_networks())
def test_a_link_cut_between_two_machines_that_work_on_one_folder_changes_nothing(site: Site) -> None:
    separate_machines_lose_their_link(site)
