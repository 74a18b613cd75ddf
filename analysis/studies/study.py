"""The contract of a study: a run over a whole dataset, the claims that it bears on, and its section of the report."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from noisezoo.analysis.core import Result, plain
from noisezoo.analysis.edits import PROBE, Embed, Generate, Strip
from noisezoo.analysis.figures import curves, dots, hue, lines
from noisezoo.analysis.probes import ProbeTable
from noisezoo.errors import UsageError
from noisezoo.plugins import load_package, load_plugins
from .claims import MEAN, Claim, Json
from .data import Data, Part, names_of


@dataclass(frozen=True)
class Model:
    """A generative model to edit through: its view's name, how it makes pictures of noise rows, and its version."""

    view: str
    generate: Generate
    version: str = ""


@dataclass(frozen=True)
class Judge:
    """An encoder that sees edited pictures: its view's name, how it embeds pictures, and its version."""

    view: str
    embed: Embed
    version: str = ""


@dataclass(frozen=True)
class Effort:
    """How much is drawn for intervals and nulls, and of how many images."""

    n_splits: int = 16
    """Splits in halves for intervals of comparisons; also their degrees of freedom."""
    n_permutations: int = 10
    """Draws of a null."""
    max_rows: int = 6000
    """Images that comparisons of views with views take, as those cost their square or a fit a pair."""

    @property
    def few_splits(self) -> int:
        """Half as many, but six at least: for comparisons of which a split costs several fits."""
        return max(6, self.n_splits // 2)


QUICK = Effort(n_splits=8, n_permutations=6, max_rows=2000)


@dataclass(frozen=True)
class Options:
    """What a run was asked for, beside the dataset."""

    seed: int = 42
    """Of folds, projections, permutations and resamples."""
    effort: Effort = Effort()
    """Draws and rows."""
    paper: bool = False
    """Also do what the paper did, as it did it."""
    models: Sequence[Model] = ()
    """Generative models to regenerate and edit through; views of the dataset."""
    judge: Judge | None = None
    """The encoder that judges edits; needed for edits."""
    edits: Sequence[str] = ()
    """Attributes to edit."""
    directions: Sequence[str] = (PROBE,)
    """How the directions of edits are made, of `noisezoo.analysis.edits.MAKERS`."""
    variants: Mapping[str, str | Path] = field(default_factory=dict)
    """Name -> another dataset of the same images, inverted otherwise."""
    step: Callable[[str], None] = lambda text: None
    """Called with a line of text before each piece of work, for a progress bar."""
    progress: Callable[[float], None] = lambda share: None
    """Called before `step` with the share of the work that is done."""

    @property
    def few_draws(self) -> dict[str, Any]:
        """Settings of what is fitted again in every half: `n_splits`, `n_permutations` and the `seed`."""
        few = self.effort.few_splits
        return {"n_splits": few, "n_permutations": self.effort.n_permutations, "seed": self.seed}


@dataclass
class Analysis:
    """What the studies found: `results` is plain JSON; the others are what later studies and the report need."""

    results: Json
    """Name of a study -> what it gave, beside `dataset`, `views` and `seed`."""
    tables: dict[str, ProbeTable] = field(default_factory=dict)
    """View -> its probes."""
    strips: dict[str, list[Strip]] = field(default_factory=dict)
    """View -> edited pictures, in [-1, 1]."""
    reconstructions: dict[str, NDArray[np.floating[Any]]] = field(default_factory=dict)
    """View -> (2, m, c, h, w), given and regenerated pictures."""
    rows: dict[str, list[Json]] = field(default_factory=dict)
    """Name of a table -> its tidy rows."""

    @property
    def views(self) -> list[Json]:
        """Facts of every view."""
        return list(self.results["views"])

    @property
    def noise(self) -> list[Json]:
        """Facts of the noise views that models were trained for."""
        return [view for view in self.views if view["kind"] == "noise"]

    @property
    def encoders(self) -> list[str]:
        """Names of the embeddings, without those of untrained networks."""
        return [view["name"] for view in self.views if view["kind"] == "embedding" and not view["untrained"]]

    @property
    def noise_and_twins(self) -> list[str]:
        """Names of the noise views, then those of their networks before training, where the dataset has them."""
        here = {view["name"] for view in self.views}
        twins = [view["baseline"] for view in self.noise if view["baseline"] in here]
        return list(dict.fromkeys((*self.names("noise"), *twins)))

    @property
    def pictures(self) -> list[str]:
        """Names of the views that are the picture, or nearly so."""
        return self.of_family("pixels", "vae")

    @property
    def noise_and_likes(self) -> list[str]:
        """Names of the noise views, of their networks before training, and of the picture."""
        return [*self.noise_and_twins, *self.of_family("pixels")]

    def names(self, kind: str) -> list[str]:
        """Names of the views of one kind, in order."""
        return [view["name"] for view in self.views if view["kind"] == kind]

    def of_family(self, *families: str) -> list[str]:
        """Names of the views of these families, in order, without those of augmented pictures."""
        return [view["name"] for view in self.views if view["family"] in families and not view.get("copy_of")]

    def record(
        self, name: str, found: Mapping[Any, Result], keys: Sequence[str] = (), *,
        caveats: Iterable[str] = (), **said: Any,
    ) -> None:  # fmt: skip
        """Put what one function found under `name`: a result for each item, a name or several, the first by `keys`.

        The tidy rows of all results go into a table. The results get the settings that all have in common, each caveat
        once, and the rows; where there are means over attributes, those alone.
        """
        named = {item: dict(zip(keys, names_of(item), strict=False)) for item in found}
        rows = [row for item, one in found.items() for row in tidy(one.records(), **named[item])]
        settings = [plain(one.settings()) for one in found.values()]
        first = settings[0] if settings else {}
        shared = {key: value for key, value in first.items() if all(each.get(key) == value for each in settings)}
        every = dict.fromkeys([*caveats, *(c for each in settings for c in each.get("caveats", ()))])
        means = [row for row in rows if row.get("attribute") == MEAN]
        self.results[name] = {**shared, **said, "rows": means or rows, "caveats": list(every)}
        self.rows[name] = rows


@dataclass(frozen=True)
class Page:
    """One dataset as the report shows it: `results` are plain, `id` is its section's."""

    id: str
    name: str
    results: Json
    analysis: Analysis

    @property
    def facts(self) -> dict[str, Json]:
        """View -> what is known of it."""
        return {view["name"]: view for view in self.results["views"]}

    def rows(self, study: str) -> list[Json]:
        """Rows of a study's results, each with the number n of images that it is of; none where it did not run."""
        return [{"n": self.n(study), **row} for row in self.results.get(study, {}).get("rows", ())]

    def n(self, study: str) -> int:
        """Images that a study's results are of."""
        return int(self.results.get(study, {}).get("n") or self.results["dataset"]["rows"])

    def said(self, kind: str) -> list[Json]:
        """Sentences of one kind."""
        return [sentence for sentence in self.results["verdicts"] if sentence["kind"] == kind]

    def dots(self, name: str, title: str, rows: Iterable[Json], label: str, **shown: Any) -> Markup | None:
        """`figures.dots` of rows in the colours of their views; the label is made of a row's columns."""
        drawn = [(label.format(**row), row, hue(self.facts[row["view"]])) for row in rows]
        return dots(name, f"{self.name}: {title}", drawn, **shown)

    def curves(
        self, name: str, title: str, rows: Iterable[Json], x: str, *, alt: str = "", scale: float = 1.0, **shown: Any
    ) -> Markup | None:
        """`figures.curves` of rows by the column `x`, a line a view; None where there are no rows."""
        drawn = lines(self.facts, rows, x=x, scale=scale)
        return curves(name, f"{self.name}: {alt or title}", drawn, title=title, **shown) if drawn else None


@dataclass(frozen=True)
class Requirement:
    """What a dataset must have: in words, and how to tell."""

    words: str
    is_met: Callable[[Analysis], Any]


def independent_rows(analysis: Analysis) -> int:
    """Number of images, or of identities where they are known."""
    dataset = analysis.results["dataset"]
    return int(dataset.get("identities") or dataset["rows"])


def small_part(data: Data, options: Options) -> Part:
    """At most 2,000 images and 100 leading axes of a view, for comparisons that fit a map in each of many subsets."""
    return data.part(min(2000, options.effort.max_rows), options.seed, 100)


IMAGES = Requirement("20 images, or identities", lambda analysis: independent_rows(analysis) >= 20)
TWO_VIEWS = Requirement("two views", lambda analysis: len(analysis.views) > 1)
NOISE = Requirement("a noise view", lambda analysis: analysis.noise)
ENCODER = Requirement("an encoder", lambda analysis: analysis.encoders)
PIXELS = Requirement("a `pixels` view (or --source PICTURES)", lambda analysis: analysis.of_family("pixels"))
PICTURE = Requirement("a `pixels` view or an autoencoder's", lambda analysis: analysis.pictures)


class Study(ABC):
    """One analysis of a whole dataset, with what it says of the paper's claims and its section of the report.

    A template is a Jinja file beside the study's module. It gets `page` (a `Page`), `results` (the page's), and the
    values that `exhibit` returns by their names.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    place: ClassVar[int] = 1000
    """Studies run, and stand in the report, in rising order of it; those of plug-ins come last."""
    on_request: ClassVar[bool] = False
    """Whether it runs only where it is asked for by name."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Studies whose findings this one reads; they run with it."""
    reads: ClassVar[tuple[str, ...]] = ()
    """Fields of `Options` that decide its results, beside the seed and the effort."""
    requires: ClassVar[tuple[Requirement, ...]] = ()
    template: ClassVar[str]
    """The section of one dataset; `templates/NAME.html.j2` by default."""
    front: ClassVar[str] = ""
    """A section over all datasets, which opens the report; its values come from `summarise`."""
    claims: ClassVar[tuple[Claim, ...]] = ()
    methods: ClassVar[str] = ""
    """What was done, in a sentence or two for a paper."""
    weight: ClassVar[float] = 1.0
    """About how long it takes, in the time of `learning`: for the share that is done and the time that is left."""

    def __init_subclass__(cls) -> None:
        if not hasattr(cls, "template"):
            cls.template = f"templates/{cls.name}.html.j2"

    @abstractmethod
    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Put plain results into `analysis.results[self.name]`, and tidy rows into `analysis.rows`."""

    def lacks(self, analysis: Analysis, options: Options) -> str:
        """What the dataset or the options must have for this study and have not; empty where nothing is missing."""
        return " and ".join(each.words for each in self.requires if not each.is_met(analysis))

    def check(self, data: Data, analysis: Analysis, options: Options) -> None:  # noqa: B027 - most have nothing to check
        """Raise UsageError for options that name what is not there; called for every study before any of them runs."""

    def say(self, results: Json) -> list[Json]:
        """Sentences on the results, each with its `kind`, its `text` and its `view`."""
        return []

    def exhibit(self, page: Page) -> Json:
        """Figures and other values for the template."""
        return {}

    def summarise(self, pages: Sequence[Page]) -> Json:
        """Values for `front`."""
        return {}

    def path(self, template: str) -> Path:
        """The file of one of its templates."""
        return Path(inspect.getfile(type(self))).parent / template


_REGISTERED: dict[str, Study] = {}


def register_study(study: type[Study], *, replace_existing: bool = False) -> type[Study]:
    """Add a study; a decorator of its class.

    Raises:
        UsageError: There is another study of its name (and `replace_existing` is not set), or it has no template.
    """
    load_plugins()
    there = _REGISTERED.get(study.name)
    if there is not None and _path(type(there)) != _path(study) and not replace_existing:
        raise UsageError(f"there is a study {study.name!r} already: choose another name or pass replace_existing=True")
    made = study()
    for template in filter(None, (study.template, study.front)):
        if not made.path(template).is_file():
            raise UsageError(f"the study {study.name!r} names a template that is not there: {made.path(template)}")
    _REGISTERED[study.name] = made
    return study


def _path(study: type[Study]) -> str:
    return f"{study.__module__}.{study.__qualname__}"


def all_studies() -> dict[str, Study]:
    """Name -> study, in order: the bundled ones and those of plug-ins."""
    load_package(str(__package__))
    return dict(sorted(_REGISTERED.items(), key=lambda item: item[1].place))


def tidy(records: Iterable[Mapping[str, Any]], **keys: Any) -> list[Json]:
    """Records with what they are of in front."""
    return [{**keys, **record} for record in records]
