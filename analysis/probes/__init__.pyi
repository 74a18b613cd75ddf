from .crossvalidation import (
    Design as Design,
    Scored as Scored,
    cross_validate as cross_validate,
    estimate as estimate,
    half_logits as half_logits,
)
from .fit import Probes as Probes, fit_probes as fit_probes
from .logistic import Array as Array
from .metrics import METRICS as METRICS, SCORES as SCORES, OutOfFold as OutOfFold
from .paper import (
    CLASSIFIERS as CLASSIFIERS,
    DIMENSIONS as DIMENSIONS,
    PaperProbes as PaperProbes,
    as_mask as as_mask,
    paper_probes as paper_probes,
)
from .path import (
    PATH as PATH,
    Fits as Fits,
    Search as Search,
    fit_without_each_fold as fit_without_each_fold,
    held_out_logits as held_out_logits,
    losses_of_folds as losses_of_folds,
    scaled_scores as scaled_scores,
    search_path as search_path,
)
from .table import (
    Comparison as Comparison,
    ProbeTable as ProbeTable,
    compare as compare,
    contrast as contrast,
    probe_difference as probe_difference,
    probe_table as probe_table,
    regression_table as regression_table,
    shared_names as shared_names,
)
from .trainings import Trainings as Trainings, over_trainings as over_trainings
