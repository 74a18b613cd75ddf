"""Tables of rows, cut and written."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from noisezoo.schema import rechunk


def test_tables_of_any_lengths_are_cut_into_groups_in_memory_of_one_of_them() -> None:
    lengths = np.random.default_rng(0).integers(0, 9, 5000)
    rows, most = np.split(np.arange(lengths.sum()), lengths.cumsum()[:-1]), 0

    def tables() -> Iterator[pa.Table]:
        nonlocal most
        for part in rows:
            most = max(most, pa.total_allocated_bytes())
            yield pa.table({"row": pc.add(np.repeat(part, 1000), 0)})  # numbers in Arrow's own memory

    before = pa.total_allocated_bytes()
    for number, table in enumerate(rechunk(tables(), 3000)):
        assert np.array_equal(
            table["row"].to_numpy()[::1000], np.arange(3 * number, min(3 * number + 3, lengths.sum()))
        )
    assert table["row"][-1].as_py() == lengths.sum() - 1
    assert most - before < 1e6  # all of them would take 160 MB
