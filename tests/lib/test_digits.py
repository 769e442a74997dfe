from stages.lib import data, digits

import numpy as np
from sklearn.datasets import load_digits


def test_every_digit_is_enlarged_and_in_its_place() -> None:
    files = digits.files()
    splits = [
        [data.decode_idx(files[f"{part}-{kind}"]) for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]
        for part in ("train", "t10k")
    ]
    assert [len(labels) for _, labels in splits] == [1_500, 297]
    images, labels = (np.concatenate(parts) for parts in zip(*splits, strict=True))
    original = load_digits()
    np.testing.assert_array_equal(labels, original.target)
    assert images.shape == (1_797, 28, 28)
    assert not images[:, :2].any() and not images[:, -2:].any() and not images[:, :, :2].any()
    # The middle pixel of each 3 x 3 block, scaled back.
    np.testing.assert_allclose(images[:, 3:26:3, 3:26:3] * (16 / 255), original.images, atol=0.5 * 16 / 255)
    np.testing.assert_array_equal(images[:, 2:26:3, 2:26:3], images[:, 4:26:3, 4:26:3])
