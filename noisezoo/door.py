"""Doors of rooms: what a package exports stands in its stub, `__init__.pyi`, and each name loads on first use."""

import ast
import sys
from importlib import import_module
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType
from typing import Any


class Door(ModuleType):
    """A package that exports the names of its stub.

    A file may bear the name of the function that it holds: importing the file does not hide the function.
    """

    _exports: dict[str, tuple[str, str]]

    def __getattr__(self, name: str) -> Any:
        if name not in self._exports:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        module, attribute = self._exports[name]
        if module == self.__name__:
            return import_module(f"{module}.{attribute}")
        value = getattr(import_module(module), attribute)
        self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: object) -> None:
        hides = isinstance(value, ModuleType) and self._exports.get(name, (self.__name__,))[0] != self.__name__
        if not hides:
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted(self._exports)


def open_door(package: str) -> None:
    """Make `package`, which is being imported, export what its stub lists as `from .MODULE import NAME as NAME`."""
    door = sys.modules[package]
    stub = ast.parse(Path(str(door.__file__)).with_suffix(".pyi").read_text(encoding="utf-8"))
    exports = {
        alias.asname or alias.name: (resolve_name("." * node.level + str(node.module), package), alias.name)
        for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }  # fmt: skip
    door.__dict__.update(_exports=exports, __all__=sorted(exports))
    door.__class__ = Door
