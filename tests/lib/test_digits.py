from stages.lib import data, digits

import numpy as np
from sklearn.datasets import load_digits


def test_every_digit_is_enlarged_and_in_its_place() -> None:
    files = digits.files()
    train_images, train_labels, test_images, test_labels = (data.decode_idx(files[name]) for name in data.FILES)
    assert (len(train_images), len(test_images)) == (len(train_labels), len(test_labels)) == (1_500, 297)
    images, labels = np.concatenate([train_images, test_images]), np.concatenate([train_labels, test_labels])
    original = load_digits()
    np.testing.assert_array_equal(labels, original.target)
    assert images.shape == (1_797, 28, 28)
    assert not images[:, :2].any() and not images[:, -2:].any() and not images[:, :, :2].any()
    # The middle pixel of each 3 x 3 block, scaled back.
    np.testing.assert_allclose(images[:, 3:26:3, 3:26:3] * (16 / 255), original.images, atol=0.5 * 16 / 255)
    np.testing.assert_array_equal(images[:, 2:26:3, 2:26:3], images[:, 4:26:3, 4:26:3])
