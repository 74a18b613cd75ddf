"""The digits: real, labelled right, and none of them seen by the model they go through."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_digits

from noisezoo.builder.sources.digits import Digits, digit_id, trained_on_digit


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return Digits().scan()


def test_no_digit_of_a_dataset_trained_the_model(table: pa.Table) -> None:
    offered = set(table.column("image_id").to_pylist())
    trained = {digit_id(i) for i in range(1797) if trained_on_digit(digit_id(i))}
    assert not offered & trained
    assert len(offered | trained) == 1797
    assert 0.4 < len(offered) / 1797 < 0.6


def test_labels_are_scikit_learn_s_and_what_follows_from_them(table: pa.Table) -> None:
    index = np.array([int(i.removeprefix("digits-")) for i in table.column("image_id").to_pylist()])
    bunch = load_digits()
    target, ink = bunch.target[index], bunch.images[index]
    assert table.column("digit").to_pylist() == target.tolist()
    assert table.column("Even").to_pylist() == [k in (0, 2, 4, 6, 8) for k in target]
    assert table.column("Above_Four").to_pylist() == [k in (5, 6, 7, 8, 9) for k in target]
    assert table.column("Has_Loop").to_pylist() == [k in (0, 6, 8, 9) for k in target]
    top = table.column("Top_Heavy").to_pylist()
    balance = ink[:, :4].sum(axis=(1, 2)) - ink[:, 4:].sum(axis=(1, 2))
    agree = np.array(top) == (balance > 0)
    assert agree[np.abs(balance) > 2].all(), "pixels of 8 bits may round a near tie, and nothing else"
    assert 0.3 < np.mean(table.column("Heavy_Ink").to_pylist()) < 0.7


def test_a_digit_s_picture_is_scikit_learn_s_image(table: pa.Table) -> None:
    key = table.column("key").to_pylist()[3]
    expected = load_digits().images[int(key)] / 16 * 255
    np.testing.assert_allclose(np.asarray(Digits().picture(key)), expected, atol=0.5)


def test_the_features_are_the_label_columns(table: pa.Table) -> None:
    assert list(Digits().label_features()) == [n for n in table.column_names if n not in ("image_id", "key")]
