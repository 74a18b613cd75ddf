from .alignment import (
    Alignment as Alignment,
    AlignmentMatrix as AlignmentMatrix,
    alignment as alignment,
    alignment_matrix as alignment_matrix,
)
from .cka import LinearKernel as LinearKernel, unbiased_cka as unbiased_cka
from .fixed_transfer import FixedTransfer as FixedTransfer, fixed_transfer as fixed_transfer
from .gcca import SharedSpace as SharedSpace, gcca as gcca
from .intersections import (
    Intersections as Intersections,
    intersections as intersections,
    shared_neighbours as shared_neighbours,
    shared_probes as shared_probes,
)
from .paper_spaces import SUBSETS as SUBSETS, PaperSpaces as PaperSpaces, paper_spaces as paper_spaces
from .retrieval import chance as chance, galleries as galleries, hits as hits
from .ridge import Regression as Regression, Source as Source, cut as cut, explained as explained, regress as regress
from .stitch import (
    RIDGES as RIDGES,
    Stitch as Stitch,
    held_out_scores as held_out_scores,
    stitch as stitch,
    stitch_many as stitch_many,
)
from .svcca import (
    canonical_maps as canonical_maps,
    leading_scores as leading_scores,
    mean_correlation as mean_correlation,
    out_of_fold as out_of_fold,
)
from .transfer import Transfer as Transfer, transfer as transfer
