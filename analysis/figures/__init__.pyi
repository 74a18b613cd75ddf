from .charts import (
    Line as Line,
    Picture as Picture,
    curves as curves,
    intervals as intervals,
    radar as radar,
    shade as shade,
    tile as tile,
)
from .drawing import STYLE as STYLE, saved_to as saved_to
from .exhibits import (
    MISSING as MISSING,
    dots as dots,
    has_interval as has_interval,
    hue as hue,
    is_wide as is_wide,
    line as line,
    lines as lines,
    matrix as matrix,
    signed as signed,
)
