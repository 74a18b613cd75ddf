"""What `accuracy` picks is as near to the ODE's noise as DDIM, by the table and by a closed form measured here."""

import pytest

from benchmarks.bench_accuracy import choose, table
from noisezoo.builder.models.noise_schedule import read_trajectory
from noisezoo.builder.models.schemes import ACCURACIES, make_scheme, pick
from noisezoo.builder.recipe import make_recipe
from noisezoo.errors import UsageError
from tests.builder.closed_forms import FLOW, data, error, exact_noise, mixture_network
from tests.builder.models import STABLE_DIFFUSION


@pytest.mark.parametrize("name", ACCURACIES)
def test_the_pick_is_no_farther_than_ddim_on_any_measured_model(name: str) -> None:
    way, span = pick(name), int(name.removeprefix("ddim-"))
    rows = [row for row in table() if row.span == span]
    ddim = {row.model: row.error for row in rows if (row.scheme, row.num_inference_steps) == ("ddim", span)}
    picked = [
        row for row in rows if (row.scheme, row.num_inference_steps) == (way["scheme"], way["num_inference_steps"])
    ]
    assert {row.model for row in picked} == set(ddim), "every model was measured both ways"
    assert all(row.error <= ddim[row.model] for row in picked)


@pytest.mark.parametrize("name", ACCURACIES)
def test_the_pick_is_the_cheapest_that_was_measured(name: str) -> None:
    assert pick(name) == choose(table(), int(name.removeprefix("ddim-")))


def test_the_truth_of_the_paper_s_fifty_steps_costs_at_most_twenty_forwards() -> None:
    way = pick("ddim-50")
    rows = [row for row in table() if row.span == 50 and row.scheme == way["scheme"]]
    assert max(row.forwards for row in rows if row.num_inference_steps == way["num_inference_steps"]) <= 20


@pytest.mark.parametrize("config", [STABLE_DIFFUSION, FLOW], ids=["diffusion", "flow"])
@pytest.mark.parametrize("name", ACCURACIES)
def test_the_table_holds_for_a_closed_form_measured_now(config: dict[str, object], name: str) -> None:
    span, y = int(name.removeprefix("ddim-")), data()
    paper = read_trajectory(config, span)
    wanted = error(make_scheme("ddim", paper).invert(y, mixture_network(paper), lambda: y)[0], exact_noise(paper, y))
    way = pick(name)
    path = read_trajectory(config, way["num_inference_steps"], span=way["span"])
    found, _ = make_scheme(way["scheme"], path).invert(y, mixture_network(path), lambda: y)
    assert error(found, exact_noise(path, y)) <= 1.02 * wanted


def test_an_accuracy_that_was_not_measured_is_refused_with_those_that_were() -> None:
    with pytest.raises(
        UsageError, match="accuracy 'perfect' was not measured; choose one of: ddim-20, ddim-50, ddim-100"
    ):
        pick("perfect")


def test_a_recipe_keeps_what_its_accuracy_picked() -> None:
    fields = {"name": "x", "source": {"name": "digits"}, "views": ["digits-ddpm"]}
    picked = make_recipe({**fields, "settings": {"accuracy": "ddim-50"}})
    assert picked.digest() == make_recipe({**fields, "settings": pick("ddim-50")}).digest()
    assert picked.digest() != make_recipe(fields).digest()
