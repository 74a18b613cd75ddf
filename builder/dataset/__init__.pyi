from .bring import bring as bring
from .card import card_text as card_text
from .contents import CODE as CODE, IMAGES as IMAGES, refuse_unpublishable as refuse_unpublishable
from .croissant import croissant as croissant
from .finish import (
    count_refused as count_refused,
    discard_damaged as discard_damaged,
    finish as finish,
    is_finished as is_finished,
    read_refusals as read_refusals,
    refused_by_views as refused_by_views,
)
from .import_arrays import (
    PATTERNS as PATTERNS,
    Nearest as Nearest,
    import_arrays as import_arrays,
    note_nearest as note_nearest,
)
from .import_latents import add_residuals as add_residuals, load_computer as load_computer
from .join import join as join
from .leave_out import leave_out as leave_out
from .publish import Published as Published, publish as publish
from .remove import remove as remove
