"""A finished dataset in object storage, as a folder on this machine."""

import shutil
from contextlib import suppress
from copy import copy
from pathlib import Path

from noisezoo.builder.engine import find_store, is_url
from noisezoo.record import RECORD, read_record


def bring(place: str | Path) -> str | Path:
    """`place` itself, or for a URL a folder on this machine with the files that the dataset's record names.

    They are downloaded again by each call: what lies in the bucket is to be seen. A file that is missing there is
    missing here.
    """
    if not is_url(place):
        return place
    store = copy(find_store(place))
    store.root = store.root.parent / "dataset" / store.root.name  # beside the files of a build at work
    shutil.rmtree(store.root, ignore_errors=True)
    store.root.mkdir(parents=True)
    with suppress(FileNotFoundError):
        store.fetch(store.root / RECORD)
    record = read_record(store.root)
    for name in record.files if record else ():
        with suppress(FileNotFoundError):
            store.fetch(store.root / name)
    return store.root
