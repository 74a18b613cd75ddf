from .directions import (
    MAKERS as MAKERS,
    PROBE as PROBE,
    Directions as Directions,
    class_mean_directions as class_mean_directions,
    directions_on as directions_on,
    lda_directions as lda_directions,
    make_directions as make_directions,
    probe_directions as probe_directions,
    strengths_on as strengths_on,
)
from .edit import (
    Edit as Edit,
    edit_along as edit_along,
    make_edit as make_edit,
    most_entangled as most_entangled,
    orthogonal_edit as orthogonal_edit,
)
from .experiment import (
    AT_NORM as AT_NORM,
    NOISE as NOISE,
    ORTHOGONAL as ORTHOGONAL,
    OVERLAY as OVERLAY,
    SHOWN as SHOWN,
    Experiment as Experiment,
    Generate as Generate,
    Space as Space,
    Strip as Strip,
    fit_space as fit_space,
)
from .measures import Embed as Embed
from .result import (
    MEAN as MEAN,
    EditStudy as EditStudy,
    Entanglement as Entanglement,
    entanglement_differences as entanglement_differences,
    entanglement_matrix as entanglement_matrix,
    study_edits as study_edits,
)
from .vectors import cosine as cosine, orthogonalize as orthogonalize
