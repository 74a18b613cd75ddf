"""Launches that cost no new interpreter."""

import multiprocessing
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from noisezoo.builder.__main__ import main
from noisezoo.builder.engine.build import Build
from noisezoo.builder.launch import local
from noisezoo.builder.launch.local import launch_of


def launch_by_fork(patch: pytest.MonkeyPatch) -> None:
    """Let a launch fork its processes, which do as started ones do but need not import the libraries again."""

    def run(builds: Sequence[Build], processes: int, _: object) -> int:
        launch = launch_of(builds, processes)
        launch.log.parent.mkdir(parents=True, exist_ok=True)

        def work() -> None:
            with launch.log.open("a") as stream, redirect_stdout(stream), redirect_stderr(stream):
                main([str(recipe) for recipe, _ in launch.work], [Path(out) for _, out in launch.work])

        started = [multiprocessing.get_context("fork").Process(target=work) for _ in range(processes)]
        for process in started:
            process.start()
        for process in started:
            process.join()
        return max(process.exitcode or 0 for process in started)

    patch.setattr(local, "_run", run)
