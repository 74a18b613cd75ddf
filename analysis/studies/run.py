"""The studies over a loaded dataset: every view beside its controls, collected for the report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from noisezoo.analysis.core import plain
from noisezoo.errors import StoppedError, UsageError
from .claims import Json, scorecard
from .data import Data
from .store import Store, keys
from .study import Analysis, Options, Study, all_studies


def analyze(
    path_or_repo: str | Path,
    options: Options | None = None,
    *,
    views: Sequence[str] | None = None,
    source: str | None = None,
    revision: str | None = None,
    studies: Sequence[str] | None = None,
    keep: Path | None = None,
    found: Mapping[str, NDArray[Any]] = MappingProxyType({}),
) -> Analysis:
    """Run studies on a dataset.

    Args:
        path_or_repo: A built folder or a Hub id.
        options: Seed, draws, models to edit through and the like; None for the defaults.
        views: Views to analyse; None for all the source has.
        source: Which of the dataset's sources; its first one by default.
        revision: On the Hub.
        studies: Names of `all_studies()`, which run in its order, with those whose findings they read; None for all
            but those that run on request only.
        keep: A folder where the findings of each study are written when it ends, and read by a second run; None
            keeps nothing.
        found: Views that the dataset does not hold, as pictures that may not be published: name -> (n, c, h, w), in the
            order of its rows.

    Raises:
        UsageError: An unknown dataset, view, study, model, judge, variant or attribute, a dataset without attributes,
            or one that has nothing of what the studies asked for need; before any of them runs.
        StoppedError: Ctrl-C, where findings are kept; says of how many studies.
    """
    wanted = options or Options()
    chosen = _chosen(studies, wanted)
    wanted.progress(0.0)
    wanted.step("reading the dataset")
    data = Data(path_or_repo, views=views, source=source, revision=revision, found=found)
    facts = [data.facts(view) for view in data.views]
    analysis = Analysis({"dataset": data.dataset_facts(), "views": facts, "seed": wanted.seed})
    for study in all_studies().values():
        study.check(data, analysis, wanted)
    missing = {name: why for name, study in chosen.items() if (why := study.lacks(analysis, wanted))}
    able = [study for name, study in chosen.items() if name not in missing]
    if not able:
        reasons = "; ".join(f"{name} needs {why}" for name, why in missing.items())
        raise UsageError(f"none of the studies can run: {reasons}")
    _run(able, data, analysis, wanted, Store(keep, wanted))
    analysis.results = plain(analysis.results)
    analysis.results |= {"missing": missing, "verdicts": verdicts(analysis.results)}
    claims = [claim for study in all_studies().values() for claim in study.claims]
    analysis.rows["scorecard"] = analysis.results["scorecard"] = scorecard(claims, analysis.results)
    return analysis


def _run(able: Sequence[Study], data: Data, analysis: Analysis, options: Options, store: Store) -> None:
    """Run what is not kept, and what that needs in memory; read the rest."""
    names = {name for study in able for name in (*study.needs, study.name)}
    order = [study for name, study in all_studies().items() if name in names]
    kept = {study.name for study in order if store.holds(study, analysis)}
    needed = {name for study in order if study.name not in kept for name in study.needs}
    weights = [0.0 if study.name in kept - needed else study.weight for study in order]
    for number, study in enumerate(order, 1):
        options.progress(sum(weights[: number - 1]) / (sum(weights) or 1.0))
        options.step(f"{number} of {len(order)}: {study.about}")
        if study.name in kept - needed:
            store.read(study, analysis)
            continue
        before = keys(analysis)
        with threadpool_limits(1, user_api="blas"):  # many small products: a second thread costs more than it does
            try:
                study.run(data, analysis, options)
            except KeyboardInterrupt as stop:
                if store.folder is None:
                    raise
                done = f"{sum(store.holds(each, analysis) for each in order)} of {len(order)} studies are kept"
                raise StoppedError(f"stopped; {done}, run the same command to go on") from stop
        store.write(study, analysis, before)


def verdicts(results: Json) -> list[Json]:
    """What the studies that ran say of their results: sentences with their `kind`, `text` and `view`."""
    return [said for name, study in all_studies().items() if name in results for said in study.say(results)]


def _chosen(names: Sequence[str] | None, options: Options) -> dict[str, Study]:
    known = all_studies()
    asked = {name for name, study in known.items() if not study.on_request} if names is None else set(names)
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise UsageError(f"no study {unknown[0]!r}; choose of: {', '.join(known)}")
    asked |= {"paper"} if options.paper else set()
    return {name: study for name, study in known.items() if name in asked}
