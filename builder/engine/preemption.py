"""Preemption: a scheduler sends a signal some time before its kill, and the process finishes its unit if it can.

After a preemption signal nothing new is begun. The unit in work is finished within the grace period and dropped after
it, leases are given back, and the process ends. SIGINT has no grace period: somebody pressed Ctrl-C and waits.

Work is ended by an exception, raised wherever the signal strikes. Inside a library's callback the exception may be
swallowed, or come out as another error: Arrow, while it compares two types of `datasets`, takes it for "they differ".
So the exception is kept, and raised again (`reraise_pending`) where work would go on or an error would be reported.
"""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NoReturn

from .leases import process_start

GRACE_VARIABLE = "NOISEZOO_GRACE"
"""Environment variable: seconds between SIGUSR1 and the kill, set by a scheduler's script that knows them."""

LAUNCHER_VARIABLE = "NOISEZOO_LAUNCHER"
"""Environment variable: process number and start of the `noisezoo build` that the process belongs to."""

LEAVING = 15.0
"""Seconds from the end of the grace period in which a process drops what it holds and ends."""

LAUNCHER_SECONDS = 1.0
"""Seconds between two checks whether the launcher lives, on systems that do not tell at once."""


@dataclass(frozen=True)
class PreemptionSignal:
    """What a signal means."""

    signal: signal.Signals
    # seconds until the kill: torchrun and SLURM kill 30 s after SIGTERM unless told otherwise; a script asks for
    # SIGUSR1 as early as it likes
    grace: float
    # exit code of a process that stopped with work left. After SIGUSR1 the script puts the job back into the queue,
    # and torchrun must not take a stopped process for a failure and kill the others
    exit_code: int

    @property
    def seconds(self) -> float:
        """The grace period, as a scheduler's script may have set it."""
        return float(os.environ.get(GRACE_VARIABLE, self.grace)) if self.signal.name == "SIGUSR1" else self.grace


PREEMPTION_SIGNALS = {
    signal.Signals[name]: PreemptionSignal(signal.Signals[name], grace, exit_code)
    for name, grace, exit_code in (("SIGTERM", 20.0, 143), ("SIGUSR1", 60.0, 0))
    if hasattr(signal, name)  # Windows has no SIGUSR1; loading, analysing and `status` need none
}


class Preempted(SystemExit):
    """The grace period is over, or a launcher was told to stop."""

    def __init__(self, cause: PreemptionSignal) -> None:
        super().__init__(cause.exit_code)
        self.signal = cause.signal


_received: dict[PreemptionSignal, float] = {}
"""Preemption signals so far -> when their grace period ends (monotonic)."""

_raised: list[BaseException] = []
"""What a signal's handler has raised."""


def stop_requested() -> bool:
    """Whether to begin nothing more."""
    return bool(_received or _raised)


def reraise_pending() -> None:
    """Raise again what a signal's handler has raised, in case a library swallowed it."""
    if _raised:
        raise _raised[-1]


def exit_if_stopped() -> None:
    """End the process with the exit code of its preemption signal; nothing where none came."""
    reraise_pending()
    if _received:
        sys.exit(max(each.exit_code for each in _received))


@contextmanager
def handle_preemption() -> Iterator[None]:
    """Handle preemption signals during the block: `stop_requested` is true after one, `Preempted` ends the grace.

    SIGINT raises `KeyboardInterrupt` as ever, unless it is ignored, as it is in a shell's background job.
    """
    handlers: dict[signal.Signals, signal._HANDLER] = dict.fromkeys(
        PREEMPTION_SIGNALS, lambda number, _: _receive(PREEMPTION_SIGNALS[signal.Signals(number)])
    )
    handlers[signal.SIGALRM] = lambda *_: _raise(Preempted(min(_received, key=lambda each: _received[each])))
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        handlers[signal.SIGINT] = lambda *_: _raise(KeyboardInterrupt())
    with handled(handlers):
        try:
            yield
        except Exception:
            reraise_pending()
            raise
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            _received.clear()
            _raised.clear()


@contextmanager
def raise_preempted() -> Iterator[None]:
    """End the block by `Preempted` at a preemption signal: a launcher that died of it would leave its processes."""

    def end(number: int, _: object) -> None:
        raise Preempted(PREEMPTION_SIGNALS[signal.Signals(number)])

    with handled(dict.fromkeys(PREEMPTION_SIGNALS, end)):
        yield


def end_with_launcher() -> None:
    """End this process, as by SIGTERM, as soon as its launcher dies: `kill -9` of a launch must not leave workers.

    A process that no launcher of ours or torchrun's has started stays, whatever becomes of its parent.
    """
    told = os.environ.get(LAUNCHER_VARIABLE)
    if told is None and "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    launchers = {os.getppid(): process_start(os.getppid())}
    if told is not None:
        pid, _, start = told.partition(" ")
        launchers[int(pid)] = float(start)
    threading.Thread(target=_watch_launchers, args=(launchers,), name="launcher", daemon=True).start()


def launcher_environment() -> dict[str, str]:
    """What tells launched processes that this process is their launcher."""
    return {LAUNCHER_VARIABLE: f"{os.getpid()} {process_start(os.getpid())}"}


def _watch_launchers(launchers: Mapping[int, float | None]) -> None:
    """Wait for the first death. On Linux a process's descriptor tells it at once, of a grandparent as of a parent."""
    ends: list[int] = []
    for pid in launchers:
        with suppress(OSError, AttributeError):  # it is gone, or this system has no such descriptors
            ends.append(os.pidfd_open(pid))
    while all(process_start(pid) == start for pid, start in launchers.items()):
        select.select(ends, [], [], LAUNCHER_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PREEMPTION_SIGNALS[signal.SIGTERM].seconds + LEAVING)
    os._exit(PREEMPTION_SIGNALS[signal.SIGTERM].exit_code)


def _receive(cause: PreemptionSignal) -> None:
    """Set the clock for the first grace period to end; one signal may come twice, also by way of the launcher."""
    _received.setdefault(cause, time.monotonic() + cause.seconds)
    signal.setitimer(signal.ITIMER_REAL, max(min(_received.values()) - time.monotonic(), 0.001))


def _raise(error: BaseException) -> NoReturn:
    _raised.append(error)
    raise error


@contextmanager
def handled(handlers: "Mapping[signal.Signals, signal._HANDLER]") -> Iterator[None]:
    """Handle signals so during the block; in another thread than the main one, where none can be, change nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
