"""Plain arrays in, frozen results out: each number with its interval and its null.

Exports load on first use, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "intervals": ("Interval", "wilson", "resample_counts", "bootstrap_means", "mean_intervals", "paired_differences"),
    "normality": ("anderson_darling", "dagostino_pearson"),
    "multinormality": ("GaussianityResult", "gaussianity", "paper_gaussianity"),
    "planted": ("PowerTable", "planted_power"),
    "false_discovery": ("benjamini_hochberg", "benjamini_yekutieli"),
    "multivariate": ("mardia_skewness", "mardia_kurtosis", "bhep"),
    "probes": ("Probes", "fit_probes"),
    "crossvalidation": ("ProbeTable", "probe_table"),
    "comparison": ("Comparison", "compare", "probe_difference"),
    "paper_table": ("PaperProbes", "paper_probes"),
    "profile": ("ProfileCorrelation", "profile_correlation"),
    "conditional": ("ConditionalValue", "conditional_value"),
    "learning_curves": ("LearningCurve", "learning_curve"),
    "ridge": ("Stitch", "stitch", "stitch_many"),
    "attribute_transfer": ("Transfer", "transfer"),
    "similarity": ("Alignment", "AlignmentMatrix", "alignment", "alignment_matrix"),
    "maxvar": ("SharedSpace", "gcca"),
    "shared_space": ("Intersections", "intersections", "shared_neighbours", "shared_probes"),
    "orthogonal": ("orthogonalize", "cosine"),
    "directions": ("Directions", "make_directions", "probe_directions", "class_mean_directions", "lda_directions"),
    "editing": ("Edit", "make_edit", "edit_along", "orthogonal_edit", "most_entangled"),
    "edits": ("study_edits",),
    "entanglement": ("entanglement_matrix", "leak_differences"),
    "structure": ("noise_structure",),
    "spurious": ("spurious_shift",),
    "variants": ("compare_variants", "difference_of_differences"),
    "simulation": ("Simulated", "simulate_une"),
    "run": ("analyze",),
}
_EXPORTS = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_EXPORTS[name]}")
    return getattr(module, name)


def __dir__() -> list[str]:
    return __all__
