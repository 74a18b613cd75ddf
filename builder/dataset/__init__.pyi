from noisezoo.builder.dataset.card import card_text as card_text
from noisezoo.builder.dataset.contents import (
    CODE as CODE,
    IMAGES as IMAGES,
    File as File,
    refuse_unpublishable as refuse_unpublishable,
)
from noisezoo.builder.dataset.croissant import croissant as croissant
from noisezoo.builder.dataset.finish import (
    discard_damaged as discard_damaged,
    finish as finish,
    is_finished as is_finished,
    listed as listed,
)
from noisezoo.builder.dataset.import_arrays import (
    PATTERNS as PATTERNS,
    Nearest as Nearest,
    import_arrays as import_arrays,
    note_nearest as note_nearest,
)
from noisezoo.builder.dataset.join import join as join
from noisezoo.builder.dataset.layout import basis_path as basis_path, config_files as config_files
from noisezoo.builder.dataset.publish import Published as Published, publish as publish
from noisezoo.builder.dataset.remove import remove as remove
