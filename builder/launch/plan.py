"""What a build will take: units, hours, bytes and memory, from the zoo's work and the speed of a device."""

from dataclasses import dataclass
from math import ceil, floor, log2

from noisezoo import zoo
from noisezoo.builder.models import SCHEMES, activations, footprint, is_guided, keeps_prompts
from noisezoo.builder.recipe import Recipe, Settings
from noisezoo.builder.views import choose_arithmetic, groups, passes
from noisezoo.costs import Cost, cost_of, size_of
from noisezoo.errors import UsageError
from .machines import UNIT_SECONDS, Machine

START_SECONDS, LOAD_BYTES_PER_SECOND = 20.0, 1e9
"""Seconds in which a process imports what it needs, and how fast it reads weights."""
UNIT_LEAST, UNIT_MOST = 60.0, 600.0
"""A unit should take between these many seconds: less, and commits and leases count; more, and a death costs much."""
SLICES_EACH = 8
"""Each process should have at least this many slices, so that none idles long at the end."""
STORED = {"float16": 0.87, "float32": 0.93}
"""Stored over raw size of arrays: noise is hardly compressible, pictures are more so."""
ROW_BYTES, UNIT_BYTES, LABEL_BYTES = 40.0, 3500.0, 150.0
"""Bytes of a row's id and quality, of a part's frame with its marker and log, and of an image's labels."""
FIT_ROWS, FIT_BYTES = 4096, 20
"""A PCA basis is fitted on this many rows; each of their numbers takes this many bytes of memory."""
LIBRARY_BYTES = 1.3e9
"""Memory of a GPU that torch holds beside weights and batch: the libraries' workspaces, and blocks in part filled.

Measured on an H200, with two images: 0.05 GiB (LDM), 0.14 (DiT), 0.27 (DDPM), 0.40 (SD 1.5), 1.17 (SDXL)."""
HOST_BYTES, PICTURE_BYTES = 3e9, 3e6
"""Memory of a process with its libraries, and of one decoded picture of a megapixel."""


@dataclass(frozen=True)
class ViewPlan:
    """One view of the build."""

    row: zoo.View  # its row of the zoo
    group: int  # number of its group; the views of a group share work and memory
    cost: Cost  # passes and arithmetic, over all images
    guided: bool  # whether guidance takes a second pass
    unit_seconds: float  # seconds of one process for a whole unit
    seconds: float  # seconds of one process for all images
    part_bytes: float  # size of its parts and markers
    published_bytes: float  # size of its config and its columns in `paired`, its basis included
    weights: float | None  # bytes of the weights it holds; None where its model's size is not known
    towers: float  # bytes of text towers that are let go once the recipe's prompt is encoded; 0 where that is kept
    download: float | None  # bytes to fetch; None where they are not known
    activations: float  # bytes of a batch beside the weights, within a factor of about two

    @property
    def loaded(self) -> float:
        """Bytes of weights that a process reads."""
        return (self.weights or 0.0) + self.towers


@dataclass(frozen=True)
class Plan:
    """What a recipe will take on a machine."""

    recipe: Recipe
    machine: Machine  # the device of each process
    images: int  # how many
    slices: int  # units of each view
    views: tuple[ViewPlan, ...]  # one entry a view that is computed, in the recipe's order
    residual_bytes: float = 0.0  # published size of the views that are made of two others

    @property
    def units(self) -> int:
        """Units of all views."""
        return self.slices * len(self.views)

    @property
    def device_seconds(self) -> float:
        """Work of all processes together, but for starting them."""
        return sum(view.seconds for view in self.views)

    @property
    def load_seconds(self) -> float:
        """For each process to start and to read every model."""
        return START_SECONDS + sum(view.loaded for view in self.views) / LOAD_BYTES_PER_SECOND

    @property
    def groups(self) -> list[list[ViewPlan]]:
        """Views that share work and memory, together."""
        numbers = sorted({view.group for view in self.views})
        return [[view for view in self.views if view.group == number] for number in numbers]

    @property
    def longest(self) -> float:
        """Seconds of the longest slice of a group: the last process may still work on it when all others are done."""
        return max(sum(view.unit_seconds for view in group) for group in self.groups)

    def seconds(self, processes: int) -> float:
        """Wall time with so many processes, the last one's last slice included."""
        return self.load_seconds + self.device_seconds / processes + self.longest * (processes > 1)

    def processes_for(self, hours: float) -> int:
        """The fewest processes that meet a deadline; raises UsageError where no number of processes does."""
        if self.seconds(1) <= hours * 3600:
            return 1
        room = hours * 3600 - self.load_seconds - self.longest
        needed = ceil(self.device_seconds / room) if room > 0 else 0
        most = self.slices * len(self.groups)
        if not 0 < needed <= most:
            raise UsageError(
                f"no number of processes builds this in {hours:g} hours: starting takes {self.load_seconds:.0f} s, one "
                f"slice up to {self.longest:.0f} s, and {most} processes find work at most; make slice_rows smaller"
            )
        return needed

    def slice_rows(self, processes: int) -> int:
        """Rows with which the slowest view's unit takes between one and ten minutes; the recipe's, where they do.

        Fewer where a view would otherwise have less than `SLICES_EACH` slices for each process.
        """
        slowest = max(self.views, key=lambda view: view.unit_seconds)
        if UNIT_LEAST <= slowest.unit_seconds <= UNIT_MOST:
            return self.recipe.slice_rows
        wanted = (UNIT_LEAST * UNIT_MOST) ** 0.5 * self.images / slowest.seconds
        rows = int(min(2 ** max(0, round(log2(wanted))), self.recipe.shard_rows))
        most = 2 ** floor(log2(max(self.images / (SLICES_EACH * processes), 1)))
        return rows if rows <= most else max(most, min(rows, self.recipe.slice_rows))

    @property
    def part_bytes(self) -> float:
        """Size of parts and markers."""
        return sum(view.part_bytes for view in self.views)

    @property
    def published_bytes(self) -> float:
        """Size of the published dataset, which lies beside the parts and goes to the Hub."""
        return sum(view.published_bytes for view in self.views) + self.residual_bytes + 2 * LABEL_BYTES * self.images

    def temporary_bytes(self, processes: int) -> float:
        """Size of the parts that all processes are writing at a time, and of the shard that the last one writes."""
        row = max(size_of(view.row) for view in self.views)
        return processes * row * self.recipe.slice_rows + row * min(self.recipe.shard_rows, self.images)

    @property
    def device_memory(self) -> float:
        """Bytes of the most demanding group: its weights, loaded together, and its widest batch or towers.

        On a GPU what the libraries hold comes to it.
        """
        widest = [max(max(view.activations, view.towers) for view in group) for group in self.groups]
        held = [sum(view.weights or 0.0 for view in group) for group in self.groups]
        libraries = 0.0 if self.machine.is_cpu else LIBRARY_BYTES
        return max(map(sum, zip(held, widest, strict=True))) + libraries

    @property
    def host_memory(self) -> float:
        """Bytes of the host that a process needs: pictures, and weights on their way to the device."""
        pictures = PICTURE_BYTES * self.recipe.slice_rows * 2
        own = self.device_memory if self.machine.is_cpu else max(view.loaded for view in self.views)
        return HOST_BYTES + pictures + own

    @property
    def publishing_memory(self) -> float:
        """Bytes of the process that publishes, for the PCA basis of the largest view."""
        sizes = [view.row.size for view in self.views if view.row.size > self.recipe.pca_dims]
        return min(self.images, FIT_ROWS) * max(sizes, default=0) * FIT_BYTES

    @property
    def downloads(self) -> dict[str, float | None]:
        """Repository on the Hub -> bytes to fetch, of the view that needs most of it; None where they are not known."""
        fetched = [view for view in self.views if view.row.repo and view.row.folder is None]
        fetched.sort(key=lambda view: view.download or 0.0)
        return {view.row.repo: view.download for view in fetched}


def plan(recipe: Recipe, images: int, machine: Machine, *, slices: int | None = None) -> Plan:
    """The plan of a recipe for so many images; nothing is downloaded, and no model is loaded.

    Args:
        recipe: The recipe.
        images: How many.
        machine: The device of each process.
        slices: Units of a view, where the manifest is known.

    Raises:
        UsageError: No images.
    """
    if images < 1:
        raise UsageError(f"{images} images: give at least one")
    slices = slices or ceil(images / recipe.slice_rows)
    together = groups(recipe.zoo_rows())
    number = {row.name: i for i, group in enumerate(together) for row in group}
    encoded: set[str] = set()
    views = {}
    for row in (row for group in together for row in group):  # in the order of work: the first to encode pays for all
        key = row.name if row.family == "vae" else row.autoencoder
        views[row.name] = _view_plan(recipe, row, number[row.name], images, slices, machine, key in encoded)
        encoded |= {key} if key else set()
    order = [views[name] for name in recipe.views if name in views]
    residuals = sum(_published_bytes(recipe, row, images, recipe.settings) for row in recipe.residuals())
    return Plan(recipe, machine, images, slices, tuple(order), residuals)


def _view_plan(
    recipe: Recipe, row: zoo.View, group: int, images: int, slices: int, machine: Machine, encoded: bool
) -> ViewPlan:
    settings, model = recipe.settings_of(row.name), footprint(row)
    kept = keeps_prompts(row, settings)
    arithmetic = choose_arithmetic(row, settings, accelerated=not machine.is_cpu)
    s = settings.model_copy(update=arithmetic)
    guidance = model.guidance if model else "none" if row.clip_conditioned is False else "text"
    guided = row.family == "diffusers" and is_guided(guidance, s)
    cost = cost_of(row, images, guided=guided, passes=passes(s), reconstruct=s.reconstruct)
    encoding = 0.0 if encoded else cost.autoencoder
    batch = min(s.batch_size, recipe.slice_rows, images)
    spent = cost.network / machine.network + encoding / machine.autoencoder
    spent += machine.read_seconds(images, row.resolution) + slices * UNIT_SECONDS
    spent += cost.forwards / batch * machine.pass_seconds
    if row.family == "diffusers":
        spent += machine.metric_seconds(s.reconstruct * images, row.resolution)
    stored = _stored_bytes(row, images, s)
    unit = spent / images * min(recipe.slice_rows, images)
    weights = None if model is None else model.weights(row, arithmetic["dtype"])
    towers = 0.0 if model is None or kept else model.towers(row, arithmetic["dtype"])
    if weights is not None and s.prompt_column is not None:
        weights, towers = weights + towers, 0.0
    download = None if model is None else model.fetched(row, texts=not kept)
    published = _published_bytes(recipe, row, images, s)
    return ViewPlan(
        row, group, cost, guided, unit, spent, stored + slices * UNIT_BYTES, published, weights,
        towers, download, activations(row, s, batch),
    )  # fmt: skip


def _stored_bytes(row: zoo.View, images: int, settings: Settings) -> float:
    return images * (size_of(row) * STORED[row.dtype] * _arrays(row, settings) + ROW_BYTES)


def _published_bytes(recipe: Recipe, row: zoo.View, images: int, settings: Settings) -> float:
    """Size of a view's config and of its columns in `paired`, its basis included."""
    width = min(row.size, recipe.pca_dims, max(images - 1, 1))
    basis = 4.0 * width * (row.size + 1) + 4.0 * row.size if row.size > recipe.pca_dims else 0.0
    return _stored_bytes(row, images, settings) + images * 4 * width * STORED["float32"] + basis


def _arrays(row: zoo.View, settings: Settings) -> int:
    """Arrays that a row stores: two where the scheme needs the last two states to generate."""
    scheme = SCHEMES.get(settings.scheme)
    return 2 if row.family == "diffusers" and scheme is not None and scheme.keeps_previous else 1
