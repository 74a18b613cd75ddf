"""A user's own package as a plug-in: what it registers is there wherever NoiseZoo looks a name up.

A package names a module in its entry points, and the module registers what it adds when it is imported:

    [project.entry-points."noisezoo.plugins"]
    mine = "mine.noisezoo_plugin"
"""

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules

from noisezoo.errors import UsageError, describe

GROUP = "noisezoo.plugins"


@cache
def load_plugins() -> tuple[str, ...]:
    """Import every installed plug-in once, and give their names; every table calls this before it looks a name up.

    Raises:
        UsageError: A plug-in fails to import; the message names it.
    """
    names = []
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            entry.load()
        except Exception as error:
            raise UsageError(
                f"the plug-in {entry.name!r} ({entry.value}) failed to import: {type(error).__name__}: "
                f"{describe(error).splitlines()[0]}; mend it or uninstall its package"
            ) from error
        names.append(entry.name)
    return tuple(names)


@cache
def load_package(name: str) -> None:
    """Import every module of the package `name`, and every plug-in: whatever registers itself is then in its table.

    Raises:
        UsageError: A plug-in fails to import.
    """
    for module in iter_modules(import_module(name).__path__):
        import_module(f"{name}.{module.name}")
    load_plugins()
