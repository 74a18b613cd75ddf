from .alignment import (
    Alignment as Alignment,
    AlignmentMatrix as AlignmentMatrix,
    alignment as alignment,
    alignment_matrix as alignment_matrix,
)
from .by_group import ByGroup as ByGroup, r2_by_group as r2_by_group
from .ceiling import Ceiling as Ceiling, share_of_ceiling as share_of_ceiling
from .fixed_transfer import FixedTransfer as FixedTransfer, fixed_transfer as fixed_transfer
from .gcca import SharedSpace as SharedSpace, gcca as gcca
from .given import Given as Given, shared_given as shared_given
from .intersections import (
    Intersections as Intersections,
    intersections as intersections,
    shared_neighbours as shared_neighbours,
    shared_probes as shared_probes,
)
from .neighbour_curve import NeighbourCurve as NeighbourCurve, neighbour_curve as neighbour_curve
from .pairing_curve import PairingCurve as PairingCurve, pairing_curve as pairing_curve
from .paper_spaces import SUBSETS as SUBSETS, PaperSpaces as PaperSpaces, paper_spaces as paper_spaces
from .partial_cca import PartialCCA as PartialCCA, partial_cca as partial_cca
from .stitch import Stitch as Stitch, stitch as stitch, stitch_many as stitch_many
from .transfer import Transfer as Transfer, transfer as transfer
from .unpaired import Unpaired as Unpaired, match_unpaired as match_unpaired
