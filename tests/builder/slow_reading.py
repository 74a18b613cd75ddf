"""A plug-in that makes started processes read digits slowly, so that a signal always comes in mid-build."""

import os
from pathlib import Path

import pytest

PLUGIN = """
import os
import time

from noisezoo.builder.sources.digits import Digits

images = Digits.images

def slowly(self, *arguments):
    end = time.monotonic() + 1.0
    while (time.monotonic() < end or os.path.exists({gate!r} + ".hold")) and not os.path.exists({gate!r}):
        time.sleep(0.02)
    return images(self, *arguments)

Digits.images = slowly
"""


def slow_down(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """Let every process that is started from now on take a second to read a few digits, however fast its machine is.

    Returns:
        The gate: once this file is there, they read as fast as they can.
    """
    site, gate = folder / "site", folder / "gate"
    metadata = site / "slow_reading-1.0.dist-info"
    metadata.mkdir(parents=True)
    (site / "slow_reading.py").write_text(PLUGIN.format(gate=str(gate)))
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: slow_reading\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[noisezoo.plugins]\nslow_reading = slow_reading\n")
    patch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
    return gate


def hold(gate: Path) -> None:
    """From now on read nothing at all, until the gate is there."""
    gate.with_name(gate.name + ".hold").touch()
