"""What every launched process runs: `accelerate launch -m noisezoo.builder RECIPE --out DIR`."""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from noisezoo.builder.build import Build, open_build, prepare
from noisezoo.builder.claims import claimed
from noisezoo.builder.dataset import discard_damaged, finish, is_finished
from noisezoo.builder.log import Log
from noisezoo.builder.recipe import Recipe, read_recipe
from noisezoo.builder.status import status
from noisezoo.builder.worker import work
from noisezoo.errors import IncompleteError, NoiseZooError, UsageError, describe


def run(recipe: Recipe, out: Path) -> bool:
    """Work on the build until nothing is left that this process could do, and publish if all is done.

    Returns whether the dataset in `out` is finished. The last process to finish its unit finds nothing pending and
    publishes; one that dies leaves its unit to whoever comes next.
    """
    _limit_threads(recipe.settings.threads)
    build = prepare(recipe, out)
    log = Log(build.state / "logs")
    try:
        while not is_finished(build):
            if not (work(build, log) if build.pending() else _publish(build, log)):
                return False  # what is left is in others' hands
        return True
    except IncompleteError as error:  # not a failure: the next run goes on
        log.write("incomplete", message=mend(error))
        raise
    except (NoiseZooError, OSError, MemoryError) as error:
        log.write("failed", message=mend(error))
        raise


def mend(error: BaseException) -> str:
    """What happened, and for a fault of the system what to do."""
    advice = "; nothing under a final name is incomplete, free it and run again" if isinstance(error, OSError) else ""
    return describe(error) + advice


def _publish(build: Build, log: Log) -> bool:
    """Publish, unless a part turns out to be damaged, which is then work again; False where another is publishing."""
    with claimed(build.state / "claims" / "publish.json") as claim:
        if claim is None:
            return False
        discard_damaged(build)
        if not build.pending() and not is_finished(build):
            finish(build)
            log.write("published", rows=len(build.manifest))
    return True


def _say_what_is_missing(build: Build) -> None:
    """Fail where nobody is left to finish the build; beside living siblings, this process has merely done its share."""
    views = status(build)
    missing = sum(view.missing for view in views)
    if missing and not any(view.running for view in views):
        raise IncompleteError(f"{missing} rows are missing and nobody works on them: run the same command again")


def _limit_threads(threads: int) -> None:
    """The number of threads changes sums, so it is the recipe's, not the machine's or the launcher's."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    threadpool_limits(threads)


def main(
    recipes: Annotated[list[str], typer.Argument(help="Bundled recipes' names or YAML files.")],
    out: Annotated[list[Path], typer.Option(help="The folder of each recipe's dataset, in the same order.")],
) -> None:
    """Work on builds beside any number of other processes, on this machine or others; run it again to go on."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if len(recipes) != len(out):
            raise UsageError(f"{len(recipes)} recipes and {len(out)} folders: give --out once a recipe")
        finished = [run(read_recipe(recipe), folder) for recipe, folder in zip(recipes, out, strict=True)]
        for done, folder in zip(finished, out, strict=True):
            if not done:
                _say_what_is_missing(open_build(folder))
    except NoiseZooError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (OSError, MemoryError) as error:
        print(f"error: {mend(error)}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
