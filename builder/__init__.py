"""Images to shards: sources, inversion, encoders, units of work, publishing."""

from importlib import import_module
from typing import Any

_EXPORTS = {"Inverter": "inverter", "Encoder": "encoder", "read_recipe": "recipe", "build_dataset": "launch"}
__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
