"""Distance to the ODE's own noise against forwards spent: every scheme, on closed forms and on the testbed's models.

    python -m benchmarks.bench_accuracy            # minutes; prints the table
    python -m benchmarks.bench_accuracy --write    # and replaces accuracy.csv; prints what `ACCURACIES` must say
    python -m benchmarks.bench_accuracy --small    # seconds: one model, one span

The target of a span of N is where the probability-flow ODE itself leads, at the noise level where a sampler of N steps
ends: for a closed form by an integrator of eighth order, for a network by Heun's method with a step for every timestep
(about 1,000). The baseline is DDIM at N steps on the folder's own spacing, the paper's way.
"""

import argparse
import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from noisezoo import zoo
from noisezoo.builder.models.inverter import Inverter
from noisezoo.builder.models.noise_schedule import read_trajectory
from noisezoo.builder.models.schemes import SCHEMES, make_scheme
from noisezoo.builder.sources.pixels import signed
from noisezoo.builder.sources.source import open_source
from tests.builder.closed_forms import FLOW, data, error, exact_noise, mixture_network
from tests.builder.models import STABLE_DIFFUSION

TABLE, PAPER = Path(__file__).with_name("accuracy.csv"), "ddim"
SPANS, IMAGES = (20, 50, 100), 8
STEPS = (4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 25, 30, 40, 50, 100)
LINEAR = {"beta_schedule": "linear", "clip_sample": False}
CLOSED_FORMS = {"mixture, Stable Diffusion's schedule": STABLE_DIFFUSION, "mixture, linear schedule": LINEAR,
                "mixture, rectified flow": FLOW}  # fmt: skip
MODELS = ("faces-ddpm", "faces-ldm-uncond", "faces-ldm", "digits-ddpm")
COMPARED = [name for name in SCHEMES if name != "forward-start"]  # which leaves the ODE on purpose
Run = Callable[[str, int, int | None], tuple[torch.Tensor, int]]
"""(scheme, steps, span) -> (noise, forwards)."""


@dataclass(frozen=True)
class Measured:
    """One line of the table.

    Attributes:
        model: A testbed model or a closed form.
        span: Steps of the sampler whose x_T is the target.
        scheme: A key of `SCHEMES`.
        num_inference_steps: Its steps.
        forwards: Passes through the network for one image, unguided.
        error: Distance to the ODE's noise: the root mean square over that of the noise.
    """

    model: str
    span: int
    scheme: str
    num_inference_steps: int
    forwards: int
    error: float


def table() -> tuple[Measured, ...]:
    """Every measurement of the table."""
    rows = csv.DictReader(TABLE.read_text().splitlines())
    return tuple(
        Measured(row["model"], int(row["span"]), row["scheme"], int(row["num_inference_steps"]), int(row["forwards"]),
                 float(row["error"]))
        for row in rows
    )  # fmt: skip


def choose(measured: Sequence[Measured], span: int) -> dict[str, Any]:
    """The cheapest settings that come as near to the ODE's noise as DDIM at `span` steps, on every model measured."""
    rows = [row for row in measured if row.span == span]
    wanted = {row.model: row.error for row in rows if (row.scheme, row.num_inference_steps) == (PAPER, span)}
    ways: dict[tuple[str, int], list[Measured]] = {}
    for row in rows:
        ways.setdefault((row.scheme, row.num_inference_steps), []).append(row)
    good = [way for way in ways.values() if all(row.error <= wanted[row.model] for row in way)]
    best = min(good, key=lambda way: (max(row.forwards for row in way), max(r.error / wanted[r.model] for r in way)))[0]
    own = (best.scheme, best.num_inference_steps) == (PAPER, span)  # the folder's own spacing is the paper's
    return {
        "scheme": best.scheme, "num_inference_steps": best.num_inference_steps, "span": None if own else span,
    }  # fmt: skip


def closed_form(config: dict[str, object]) -> tuple[Run, Callable[[int], torch.Tensor]]:
    """The perfect denoiser of a mixture, in float64."""
    y = data()

    def run(scheme: str, steps: int, span: int | None) -> tuple[torch.Tensor, int]:
        path = read_trajectory(config, steps, span=span)
        network, calls = mixture_network(path), []
        counted = lambda state, time: calls.append(time) or network(state, time)  # noqa: E731
        return make_scheme(scheme, path).invert(y, counted, lambda: y)[0], len(calls)

    return run, lambda span: exact_noise(read_trajectory(config, span), y)


def testbed(name: str) -> tuple[Run, Callable[[int], torch.Tensor]]:
    """A trained model, on images that it was not trained on."""
    row = zoo.get(name)
    assert row.folder is not None
    source = open_source(name.partition("-")[0])
    keys = source.scan().slice(0, IMAGES).column("key").to_pylist()
    pictures = [image for image in source.images(keys) if not isinstance(image, Exception)]
    images = torch.from_numpy(np.stack([signed(image, row.resolution) for image in pictures]))

    def run(scheme: str, steps: int, span: int | None) -> tuple[torch.Tensor, int]:
        inverter = Inverter.from_pretrained(row.folder, scheme=scheme, num_inference_steps=steps, span=span)
        return inverter.invert(images), inverter.network.forwards

    def truth(span: int) -> torch.Tensor:
        every = Inverter.from_pretrained(row.folder, num_inference_steps=span).trajectory.times
        return run("heun", int(every[-1] - every[1] + 1), span)[0]

    return run, truth


def measure(model: str, run: Run, truth: torch.Tensor, span: int) -> Iterator[Measured]:
    """The paper's way, and then every scheme at every number of steps that is not dearer."""
    noise, forwards = run(PAPER, span, None)
    yield Measured(model, span, PAPER, span, forwards, error(noise, truth))
    for scheme in COMPARED:
        for steps in (n for n in STEPS if n <= span and (scheme, n) != (PAPER, span)):
            noise, forwards = run(scheme, steps, span)
            yield Measured(model, span, scheme, steps, forwards, error(noise, truth))


def report(rows: list[Measured]) -> None:
    """For every model, the fewest forwards at which each scheme is as near as the paper's DDIM."""
    for model, span in dict.fromkeys((row.model, row.span) for row in rows):
        here = [row for row in rows if (row.model, row.span) == (model, span)]
        paper = here[0]
        print(f"{model}, x_T of {span} steps: DDIM {paper.error:.4f} at {paper.forwards} forwards")
        for scheme in COMPARED:
            enough = [row for row in here[1:] if row.scheme == scheme and row.error <= paper.error]
            best = min(enough, key=lambda row: row.forwards, default=None)
            said = f"{best.error:.4f} at {best.forwards}" if best else "not reached"
            print(f"    {scheme:<18}{said}")


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sources = {name: closed_form(config) for name, config in CLOSED_FORMS.items()}
    if not options.small:
        sources |= {name: testbed(name) for name in MODELS}
    rows: list[Measured] = []
    for model, (run, truth) in sources.items():
        for span in SPANS[1:2] if options.small else SPANS:
            rows += measure(model, run, truth(span), span)
            print(f"measured {model}, span {span}", flush=True)
    report(rows)
    for span in dict.fromkeys(row.span for row in rows):
        print(f"ddim-{span}: {choose(rows, span)}")
    if options.write:
        write(rows)


def write(rows: list[Measured]) -> None:
    """Replace the table."""
    with TABLE.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(asdict(rows[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**asdict(row), "error": f"{row.error:.3e}"} for row in rows)


if __name__ == "__main__":
    main()
