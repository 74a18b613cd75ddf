"""Asked to stop: a scheduler's notice comes some time before its kill, which is time to finish what is in work.

Nothing new is begun then, what is in work is finished while the grace lasts and dropped after it, claims are given
back, and the process ends. SIGINT is no notice: whoever presses Ctrl-C waits for nothing.

What ends the work is an exception, raised wherever the signal strikes. Inside a library's callback it may be swallowed
there, or come out as another error: Arrow, comparing two types of `datasets`, takes it for "they differ". So the
exception is kept, and raised again (`obey`) where the work would go on or an error would be reported.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

GRACE = "NOISEZOO_GRACE"
"""The environment variable that says how many seconds SIGUSR1 leaves, where a scheduler's script knows better."""


@dataclass(frozen=True)
class Notice:
    """What a signal means.

    Attributes:
        signal: The signal.
        grace: Seconds to finish in: torchrun and SLURM kill 30 s after SIGTERM unless told otherwise, and a script
            asks for SIGUSR1 as early as it likes.
        exit_code: Of a process that stopped for it with work left. After SIGUSR1 the script puts the job back in
            the queue, and torchrun must not take one process that has stopped for a failure and kill the others.
    """

    signal: signal.Signals
    grace: float
    exit_code: int

    @property
    def seconds(self) -> float:
        """The grace, as a scheduler's script may have set it."""
        return float(os.environ.get(GRACE, self.grace)) if self.signal == signal.SIGUSR1 else self.grace


NOTICES = {n.signal: n for n in (Notice(signal.SIGTERM, 20.0, 143), Notice(signal.SIGUSR1, 60.0, 0))}


class Told(SystemExit):
    """The grace is over, or a launcher was told to stop."""

    def __init__(self, notice: Notice) -> None:
        super().__init__(notice.exit_code)
        self.signal = notice.signal


_given: dict[Notice, float] = {}
"""Notices so far -> when their grace ends (monotonic)."""

_raised: list[BaseException] = []
"""What a signal's handler has raised."""


def asked() -> bool:
    """Whether to begin nothing more."""
    return bool(_given or _raised)


def obey() -> None:
    """Raise again what a signal has raised, in case it was lost on its way; nothing where none has."""
    if _raised:
        raise _raised[-1]


def leave() -> None:
    """End the process as it was told to; nothing where it was not."""
    obey()
    if _given:
        sys.exit(max(notice.exit_code for notice in _given))


@contextmanager
def heeded() -> Iterator[None]:
    """Take notices during the block: `asked()` is true from then on, and at the end of the grace `Told` is raised.

    SIGINT raises `KeyboardInterrupt` as ever, unless it is ignored, as it is in a shell's background job.
    """
    handlers: dict[signal.Signals, signal._HANDLER] = dict.fromkeys(
        NOTICES, lambda number, _: _take(NOTICES[signal.Signals(number)])
    )
    handlers[signal.SIGALRM] = lambda *_: _drop()
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        handlers[signal.SIGINT] = lambda *_: _raise(KeyboardInterrupt())
    with _handled(handlers):
        try:
            yield
        except Exception:
            obey()
            raise
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            _given.clear()
            _raised.clear()


@contextmanager
def forwarded() -> Iterator[None]:
    """Let a notice end the block by `Told`: a launcher that just died would leave its processes at work."""

    def tell(number: int, _: FrameType | None) -> None:
        raise Told(NOTICES[signal.Signals(number)])

    if threading.current_thread() is not threading.main_thread():  # only there may signals be handled
        yield
        return
    with _handled(dict.fromkeys(NOTICES, tell)):
        yield


def _take(notice: Notice) -> None:
    """Note it, and set the clock for the first grace to end; the same notice may come twice, by the launcher too."""
    _given.setdefault(notice, time.monotonic() + notice.seconds)
    signal.setitimer(signal.ITIMER_REAL, max(min(_given.values()) - time.monotonic(), 0.001))


def _drop() -> None:
    _raise(Told(min(_given, key=lambda notice: _given[notice])))


def _raise(error: BaseException) -> NoReturn:
    _raised.append(error)
    raise error


@contextmanager
def _handled(handlers: "Mapping[signal.Signals, signal._HANDLER]") -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
