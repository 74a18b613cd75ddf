"""Batch sizes on accelerators, chosen by a build's first process at a view, kept in its state, used by every process.

On a GPU a row's last bits depend on the size of its batch, so that the size may not depend on which process computes
it. On a CPU the recipe's batch size is used as it is.
"""

from noisezoo.builder.engine.build import Build
from noisezoo.builder.views import Computer, choose_sizes, device_memory, groups, weights_of


def batch_sizes(build: Build, computer: Computer) -> dict[str, int]:
    """Stage -> images at once of a view on this kind of device; empty where the recipe's batch size holds."""
    memory = device_memory(computer.device)
    if memory is None:
        return {}
    view, recipe = computer.view, build.recipe

    def choose() -> dict[str, int]:
        weights = weights_of(next(group for group in groups(build.views) if view in group), recipe.settings.dtype)
        return choose_sizes(view, recipe.settings, memory=memory, weights=weights, slice_rows=recipe.slice_rows)

    return build.first(f"batches/{view.name}.json", choose)
