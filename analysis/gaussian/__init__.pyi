from .families import FAMILIES as FAMILIES
from .fresh import (
    FreshProjections as FreshProjections,
    bimodal as bimodal,
    fresh_projections as fresh_projections,
    marchenko_pastur_share as marchenko_pastur_share,
)
from .gaussianity import (
    examine as examine,
    gaussianity as gaussianity,
    null_replicates as null_replicates,
    paper_gaussianity as paper_gaussianity,
    sample_of as sample_of,
)
from .joint import bhep as bhep, mardia_kurtosis as mardia_kurtosis, mardia_skewness as mardia_skewness
from .likelihood import RowLikelihood as RowLikelihood, row_likelihood as row_likelihood
from .result import GaussianityResult as GaussianityResult, GaussianityRow as GaussianityRow
from .univariate import (
    anderson_darling as anderson_darling,
    dagostino_pearson as dagostino_pearson,
    epps_pulley as epps_pulley,
    shapiro_wilk as shapiro_wilk,
)
