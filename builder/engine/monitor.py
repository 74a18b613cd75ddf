"""One process of all that work on a build keeps it: it looks, beat by beat, at every claim, and buries the dead's."""

import socket
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

from noisezoo.builder.engine.leases import bury, claimed, claims_in, holder, sign_of_life
from noisezoo.builder.engine.scheduler import BEAT, Looks

ENDING = 5.0
"""Seconds at most that who ends waits for the look it is taking, which holds a claim while it buries another."""


class Keeper:
    """A thread that looks while its process works, where no other living process's does.

    Who keeps is a claim like any other: the keeper's death is found by the same looks, by whoever is next.
    """

    def __init__(self, claims: Path) -> None:
        self.claims, self.path = claims, claims / "keeper.json"
        self._keeps, self._over, self._guard = ExitStack(), threading.Event(), threading.Lock()
        self._looks: Looks[Path] = Looks()
        self._keeping = False
        self._sign: tuple[float, int] | None = None
        self._lives = False
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def __enter__(self) -> "Keeper":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Give it up: another's next look finds nobody keeping."""
        self._over.set()
        with self._guard:
            self._keeps.close()
            self._keeping = False
        self._thread.join(ENDING)

    def keeps(self) -> bool:
        """Whether this process is the keeper, now that it is asked to be."""
        with self._guard, ExitStack() as stack:
            if not self._keeping and not self._over.is_set() and stack.enter_context(claimed(self.path)) is not None:
                self._keeps, self._keeping, self._looks = stack.pop_all(), True, Looks()
            return self._keeping

    def is_kept(self) -> bool:
        """Whether another living process is known to keep the build.

        On this host a claim that `keeps` did not take over says so; another host's is believed after a sign of life
        that came between the last two looks, as a dead one's claim may lie there for minutes.
        """
        claim = holder(self.path)
        return claim is not None and (claim["host"] == socket.gethostname() or self._lives)

    def look(self) -> None:
        """Look once: the keeper at all claims, any other at the keeper's."""
        keeping = self._keeping or (sign_of_life(self.path) is None and self.keeps())
        claims = claims_in(self.claims) if keeping else [self.path]
        signs = {path: sign for path in claims if (sign := sign_of_life(path)) is not None}
        sign, before = signs.get(self.path), self._sign
        self._sign, self._lives = sign, None not in (sign, before) and sign != before
        for path in self._looks.dead(signs):
            bury(path, signs[path])

    def _run(self) -> None:
        while not self._over.wait(BEAT):
            with suppress(OSError):  # the work itself will meet what is wrong with the folder, and say so
                self.look()
