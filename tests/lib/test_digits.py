from stages.lib import data, digits

import numpy as np
from sklearn.datasets import load_digits


def test_every_digit_is_enlarged_and_in_its_place() -> None:
    parts = [data.decode_idx(content) for content in digits.files().values()]
    original = load_digits()
    enlarged = np.pad(np.kron(original.images, np.full((1, 3, 3), 255 / 16)), ((0, 0), (2, 2), (2, 2)))
    np.testing.assert_allclose(np.concatenate(parts[::2]), enlarged, atol=0.5)
    np.testing.assert_array_equal(np.concatenate(parts[1::2]), original.target)
    assert [len(part) for part in parts] == [1_500, 1_500, 297, 297]
