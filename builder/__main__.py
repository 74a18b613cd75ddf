"""What every launched process runs: `accelerate launch -m noisezoo.builder RECIPE --out DIR`."""

import os
import sys
from contextlib import redirect_stderr
from pathlib import Path
from typing import Annotated

import typer

from noisezoo.builder.dataset import discard_damaged, finish, is_finished
from noisezoo.builder.engine import (
    Build,
    Log,
    Queue,
    admit,
    admit_device,
    end_with_launcher,
    exit_if_stopped,
    handle_preemption,
    lease_creation,
    library_warnings,
    open_build,
    opened,
    publishing_lease,
    reraise_pending,
    stop_requested,
    take_place,
    work,
)
from noisezoo.builder.launch import status
from noisezoo.builder.recipe import Recipe, read_recipe
from noisezoo.builder.redaction import Redacted
from noisezoo.errors import IncompleteError, NoiseZooError, UsageError, describe


def run(recipe: Recipe, out: Path, expected: str | None = None) -> bool:
    """Work on the build until nothing is left that this process could do, and publish if all is done.

    The process that finds nothing pending after its last unit publishes. A process that dies leaves its unit to the
    next process.

    Args:
        recipe: The recipe.
        out: The dataset's folder.
        expected: The identity of the build, where one was prepared (see `noisezoo.builder.engine.opened`).

    Returns:
        Whether the dataset is finished.

    Raises:
        UsageError: This process may not work there: `noisezoo.builder.engine.admission` says why.
        IncompleteError: Something that the next run may do is undone.
    """
    _limit_threads(recipe.settings.threads)
    build = opened(recipe, out, expected)
    if is_finished(build):
        Queue(build).clean_up()  # leases of processes that died beside the publisher
        return True
    log = Log(build.state / "logs", build.store)
    try:
        admit(build)
        admit_device(build)
        log.write("leases", created_by=lease_creation(build))
        with library_warnings(log):
            while not stop_requested() and (work(build, log) or _publish(build, log)):
                if is_finished(build):
                    return True
        return False  # other processes own what is left
    except Exception as error:
        reraise_pending()
        log.write("incomplete" if isinstance(error, IncompleteError) else "failed", message=mend(error))
        raise
    finally:
        log.share()


def mend(error: BaseException) -> str:
    """What happened, and for a fault of the system what to do."""
    advice = "; nothing under a final name is incomplete: mend it and run again" if isinstance(error, OSError) else ""
    return describe(error) + advice


def _publish(build: Build, log: Log) -> bool:
    """Publish; compute damaged parts again first. False where other processes own the rest."""
    if build.pending():
        return False
    with publishing_lease(build.store).acquire() as acquired:
        if not acquired:
            return False
        build.refuse_outgrown()
        discard_damaged(build)
        if not build.pending() and not is_finished(build):
            finish(build)
            log.write("published", rows=len(build.manifest))
    return True


def _say_what_is_missing(build: Build) -> None:
    """Fail where no living process is left to finish the build; otherwise this process has done its share."""
    views = status(build)
    missing = sum(view.missing for view in views)
    if missing and not any(view.running for view in views):
        raise IncompleteError(f"{missing} rows are missing and no process works on them: run the same command again")


def _limit_threads(threads: int) -> None:
    """The number of threads changes sums, so it is the recipe's, not the machine's or the launcher's."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    threadpool_limits(threads)


def main(
    recipes: Annotated[list[str], typer.Argument(help="Bundled recipes' names or YAML files.")],
    out: Annotated[list[Path], typer.Option(help="The folder of each recipe's dataset, in the same order.")],
    expect: Annotated[
        str | None, typer.Option(help="The identity of the build that must already be in the folder.")
    ] = None,
) -> None:
    """Work on builds beside any number of other processes, on this machine or others; run it again to go on.

    Exit codes: 0 done, or others are at the rest, or SIGUSR1 came; 1 failed, 2 bad usage, 3 incomplete and nobody is at
    it, 143 SIGTERM came.
    """
    try:
        with handle_preemption(), redirect_stderr(Redacted(sys.stderr)):
            take_place()
            _work_on(recipes, out, expect)
    except NoiseZooError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (OSError, MemoryError) as error:
        print(f"error: {mend(error)}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _work_on(recipes: list[str], out: list[Path], expect: str | None) -> None:
    if len(recipes) != len(out):
        raise UsageError(f"{len(recipes)} recipes and {len(out)} folders: give --out once a recipe")
    finished = [run(read_recipe(recipe), folder, expect) for recipe, folder in zip(recipes, out, strict=True)]
    if not all(finished):
        exit_if_stopped()
    for done, folder in zip(finished, out, strict=True):
        if not done:
            _say_what_is_missing(open_build(folder))


def _end(code: int) -> None:
    """Leave without Python's teardown, which Arrow's threads may abort: launchers would take that for a failure."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    end_with_launcher()
    try:
        typer.run(main)
    except SystemExit as end:
        _end(end.code if isinstance(end.code, int) else int(end.code is not None))
