"""The bundled studies over a loaded dataset: every view beside its controls, collected for the report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from noisezoo.analysis.core import plain
from noisezoo.analysis.studies.data import Data
from noisezoo.analysis.studies.scorecard import scorecard
from noisezoo.analysis.studies.study import Analysis, Options
from noisezoo.analysis.studies.table import STUDIES, make_study
from noisezoo.analysis.studies.verdicts import verdicts
from noisezoo.errors import UsageError


def analyze(
    path_or_repo: str | Path,
    *,
    views: Sequence[str] | None = None,
    source: str | None = None,
    revision: str | None = None,
    studies: Sequence[str] = tuple(STUDIES),
    **options: Any,
) -> Analysis:
    """Run the bundled studies on a dataset.

    Args:
        path_or_repo: A built folder or a Hub id.
        views: Views to analyse; None for all the source has.
        source: Which of the dataset's sources; its first one by default.
        revision: On the Hub.
        studies: Names of `STUDIES`, which run in its order.
        options: As in `noisezoo.analysis.studies.study.Options`.

    Raises:
        UsageError: An unknown dataset, view, study or attribute, or a dataset without attributes.
    """
    unknown = [name for name in studies if name not in STUDIES]
    if unknown:
        raise UsageError(f"no study {unknown[0]!r}; choose of: {', '.join(STUDIES)}")
    wanted = Options(**options)
    data = Data(path_or_repo, views=views, source=source, revision=revision)
    facts = [data.facts(view) for view in data.views]
    analysis = Analysis({"dataset": data.dataset_facts(), "views": facts, "seed": wanted.seed}, {})
    asked = [make_study(name) for name in studies]
    names = {name for study in asked if study.wanted(wanted) for name in (*study.needs, study.name)}
    for study in (make_study(name) for name in STUDIES if name in names):
        if study.wanted(wanted):
            wanted.step(study.about)
            with threadpool_limits(1, user_api="blas"):  # many small products: a second thread costs more than it does
                study.run(data, analysis, wanted)
    analysis.results = plain(analysis.results)
    analysis.results["verdicts"] = verdicts(analysis.results)
    analysis.results["scorecard"] = scorecard(analysis.results)
    analysis.rows["scorecard"] = analysis.results["scorecard"]
    return analysis
