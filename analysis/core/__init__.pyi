from noisezoo.analysis.core.arrays import (
    AnyArray as AnyArray,
    Floats as Floats,
    Matrix as Matrix,
    along as along,
    as_array as as_array,
    as_labels as as_labels,
    as_matrix as as_matrix,
    beside as beside,
    cast as cast,
    chosen as chosen,
    constant_columns as constant_columns,
    double as double,
    double_sum as double_sum,
    eigh as eigh,
    finite_sum as finite_sum,
    largest as largest,
    like as like,
    namespace as namespace,
    refuse_one_class as refuse_one_class,
    single as single,
    to_numpy as to_numpy,
)
from noisezoo.analysis.core.blocks import Blocks as Blocks, Rows as Rows, as_rows as as_rows
from noisezoo.analysis.core.caveats import caveats as caveats
from noisezoo.analysis.core.halves import (
    Estimate as Estimate,
    Scored as Scored,
    assign_folds as assign_folds,
    half_samples as half_samples,
    parts_of as parts_of,
)
from noisezoo.analysis.core.intervals import (
    Interval as Interval,
    Measured as Measured,
    Null as Null,
    bootstrap_means as bootstrap_means,
    interval_of_difference as interval_of_difference,
    interval_of_influences as interval_of_influences,
    interval_of_rate as interval_of_rate,
    interval_of_share as interval_of_share,
    mean_intervals as mean_intervals,
    no_narrower as no_narrower,
    null_columns as null_columns,
    null_of_draws as null_of_draws,
    null_of_moments as null_of_moments,
    null_of_rates as null_of_rates,
    paired_differences as paired_differences,
    wilson as wilson,
    with_mean as with_mean,
)
from noisezoo.analysis.core.linalg import (
    Frame as Frame,
    gaussian_root as gaussian_root,
    leading_eigenpairs as leading_eigenpairs,
    principal_frame as principal_frame,
)
from noisezoo.analysis.core.result import (
    Draws as Draws,
    Result as Result,
    plain as plain,
    refuse_settings as refuse_settings,
)
from noisezoo.analysis.core.units import (
    Units as Units,
    one_of_each as one_of_each,
    resample_counts as resample_counts,
    shuffled as shuffled,
    units_of as units_of,
    units_with as units_with,
)
