from .manifest import (
    SPARE_ROWS as SPARE_ROWS,
    Manifest as Manifest,
    freeze as freeze,
    rows_of_split as rows_of_split,
    spare_keys as spare_keys,
    with_splits as with_splits,
)
from .pie_bench import EDIT_TYPES as EDIT_TYPES, decode_mask as decode_mask
from .pixels import COPIES as COPIES, signed as signed, to_channels as to_channels, to_rgb as to_rgb
from .source import (
    Refusal as Refusal,
    Source as Source,
    attempt as attempt,
    hash_unit as hash_unit,
    keys_of as keys_of,
    open_source as open_source,
    register_source as register_source,
)
