from .by_group import ByGroup as ByGroup, r2_by_group as r2_by_group
from .ceiling import Ceiling as Ceiling, share_of_ceiling as share_of_ceiling
from .conditional import ConditionalValue as ConditionalValue, conditional_value as conditional_value
from .given import Given as Given, shared_given as shared_given
from .learning_curves import LearningCurve as LearningCurve, learning_curve as learning_curve
from .neighbour_curve import NeighbourCurve as NeighbourCurve, neighbour_curve as neighbour_curve
from .pairing_curve import PairingCurve as PairingCurve, pairing_curve as pairing_curve
from .partial_cca import PartialCCA as PartialCCA, partial_cca as partial_cca
from .power import PowerTable as PowerTable, planted_power as planted_power
from .profile import ProfileCorrelation as ProfileCorrelation, profile_correlation as profile_correlation
from .simulation import Simulated as Simulated, simulate_une as simulate_une
from .spurious import REDUCED as REDUCED, SpuriousShift as SpuriousShift, spurious_shift as spurious_shift
from .structure import NoiseStructure as NoiseStructure, area_means as area_means, noise_structure as noise_structure
from .truth import (
    InversionError as InversionError,
    corrected as corrected,
    inversion_error as inversion_error,
    share_of_signal as share_of_signal,
)
from .unpaired import Unpaired as Unpaired, match_unpaired as match_unpaired
from .variants import (
    Variants as Variants,
    compare_variants as compare_variants,
    difference_of_differences as difference_of_differences,
)
