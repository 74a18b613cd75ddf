"""Python processes that begin as new ones do, but for large libraries that they need not import again.

They are forked from a server that has imported nothing else. A new interpreter takes three seconds of a CPU for these.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path

LIBRARIES = ["numpy", "pandas", "pyarrow.parquet", "PIL.Image", "scipy.stats", "sklearn.datasets", "torch"]
"""None of them reads the variables by which tests differ, as `huggingface_hub` and all that imports it do."""
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(LIBRARIES)


class Fresh:
    """A running process; its methods are those of `subprocess.Popen`, as far as tests need them.

    Args:
        code: What it runs.
        arguments: Its `sys.argv[1:]`.
        environment: All its variables; those of this process by default.
        folder: Where it works; by default where this process does.
    """

    def __init__(
        self, code: str, *arguments: str, environment: Mapping[str, str] | None = None, folder: Path | None = None
    ) -> None:
        self._said = tempfile.TemporaryDirectory(prefix="noisezoo-fresh-")
        given = (code, arguments, dict(os.environ if environment is None else environment), folder or Path.cwd())
        self._process = _FORKS.Process(target=_run, args=(*given, Path(self._said.name)))
        self._process.start()

    def poll(self) -> int | None:
        """Exit code, minus the signal that ended it; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        """Exit code, once it has ended.

        Raises:
            TimeoutError: It did not end in so many seconds, and was killed.
        """
        self._process.join(timeout)
        if (code := self._process.exitcode) is None:
            self._process.kill()
            raise TimeoutError(f"it did not end in {timeout} s")
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """What it wrote to its output and to its errors, once it has ended."""
        self.wait(timeout)
        out, err = (Path(self._said.name, name).read_text() for name in ("1", "2"))
        return out, err


def module(name: str) -> str:
    """Code that does what `python -m NAME` does."""
    return f"import runpy; runpy.run_module({name!r}, run_name='__main__', alter_sys=True)"


def _run(code: str, arguments: tuple[str, ...], environment: dict[str, str], folder: Path, said: Path) -> None:
    """Run the code, and leave at once.

    A Parquet stream's Arrow threads may let go of Python objects while the interpreter ends, and abort a process that
    has done all it was asked to (huggingface/datasets issue 7566). What it does is tested, not how Python ends.
    """
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    for number in (1, 2):
        os.dup2(os.open(said / str(number), os.O_WRONLY | os.O_CREAT), number)
    sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))
    sys.argv[1:] = arguments
    status = 0
    try:
        exec(compile(code, "<code>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
