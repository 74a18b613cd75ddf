from pathlib import Path

import numpy as np
import pytest

from noisezoo.analysis.core.halves import assign_folds
from noisezoo.analysis.studies import data as reading
from noisezoo.analysis.studies.data import Data
from noisezoo.builder.__main__ import run
from tests.builder.building import digits_recipe, recipe_of
from tests.builder.image_sources import people, write_lists


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "digits"
    assert run(digits_recipe(("pixels-8", "random-64"), limit=60, pca_dims=16), folder)
    return folder


@pytest.fixture(scope="module")
def celeba(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("celeba")
    write_lists(folder / "lists", people())
    assert run(recipe_of(f"celeba:{folder / 'lists'}", ("random-64",), limit=None), folder / "built")
    return folder / "built"


def test_a_view_is_read_in_full_where_that_is_cheap(digits: Path) -> None:
    data = Data(digits)
    assert data.views == ["pixels-8", "random-64"]
    assert data.features("pixels-8").shape == (60, 64) and not data.is_reduced("pixels-8")
    assert data.facts("pixels-8")["reduced_to"] is None


def test_a_view_that_is_too_wide_is_read_as_published_and_says_so(
    digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "GRAM_FLOPS", 1e3)
    data = Data(digits)
    assert data.features("pixels-8").shape == (60, 16)
    assert (data.facts("pixels-8")["d"], data.facts("pixels-8")["reduced_to"]) == (64, 16)
    basis = data.basis("pixels-8")
    assert basis is not None
    np.testing.assert_allclose(data.features("pixels-8"), basis.transform(data.matrix("pixels-8")), atol=2e-3)


def test_stored_rows_keep_their_dtype_and_are_the_same_numbers(digits: Path) -> None:
    data = Data(digits)
    assert data.stored("pixels-8").dtype == np.float16
    np.testing.assert_array_equal(data.stored("pixels-8").astype(np.float32), data.matrix("pixels-8"))


def test_identities_come_with_the_dataset_and_no_fold_has_one_on_both_sides(celeba: Path) -> None:
    data = Data(celeba)
    assert data.groups is not None and len(data.groups) == len(data)
    expected = dict(zip((name.split(".")[0] for name in people().names), people().identity, strict=True))
    ids = data.labels.data.column("image_id").to_pylist()
    assert [expected[image_id.rpartition("-")[2]] for image_id in ids] == list(data.groups)
    folds = assign_folds(len(data), 3, groups=data.groups)
    assert all(len(set(folds[data.groups == person])) == 1 for person in np.unique(data.groups))


def test_a_source_without_identities_has_no_groups(digits: Path) -> None:
    assert Data(digits).groups is None
    assert Data(digits).dataset_facts()["identities"] is None
