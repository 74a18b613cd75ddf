"""Where a build stands, from its folder alone: while it runs, or after it died."""

from dataclasses import dataclass

from noisezoo.builder.build import Build
from noisezoo.builder.claims import is_stale


@dataclass(frozen=True)
class ViewStatus:
    """One view's progress, in images.

    Attributes:
        view: The view's name.
        total: Images in the manifest.
        done: Images committed.
        refused: Images refused.
        running: Images of units that a living process holds.
        images_per_second: Over the span in which the view's units were computed; None before the first.
    """

    view: str
    total: int
    done: int
    refused: int
    running: int
    images_per_second: float | None

    @property
    def missing(self) -> int:
        """Images that nobody has finished and nobody works on."""
        return self.total - self.done - self.refused - self.running

    @property
    def seconds_left(self) -> float | None:
        """At the view's rate so far; None before the first unit."""
        left = self.total - self.done - self.refused
        return left / self.images_per_second if self.images_per_second else None


def status(build: Build) -> list[ViewStatus]:
    """One entry a view, in the recipe's order."""
    return [_view_status(build, name) for name in build.recipe.views]


def _view_status(build: Build, name: str) -> ViewStatus:
    units = build.units(next(view for view in build.views if view.name == name))
    markers = [unit.marker() for unit in units]
    done = [marker for marker in markers if marker is not None]
    running = [
        unit for unit, marker in zip(units, markers, strict=True)
        if marker is None and unit.claim_path.exists() and not is_stale(unit.claim_path)
    ]  # fmt: skip
    span = max((m["started"] + m["seconds"] for m in done), default=0) - min((m["started"] for m in done), default=0)
    images = sum(marker["rows"] + marker["refused"] for marker in done)
    return ViewStatus(
        view=name,
        total=len(build.manifest),
        done=sum(marker["rows"] for marker in done),
        refused=sum(marker["refused"] for marker in done),
        running=sum(len(unit.rows) for unit in running),
        images_per_second=images / span if span > 0 else None,
    )
