from .conditional import ConditionalValue as ConditionalValue, conditional_value as conditional_value
from .learning_curves import LearningCurve as LearningCurve, learning_curve as learning_curve
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
from .variants import (
    Variants as Variants,
    compare_variants as compare_variants,
    difference_of_differences as difference_of_differences,
)
