"""The embedded dataset: scikit-learn's 1,797 handwritten 8 x 8 digits, enlarged to the size of MNIST's."""

from stages.lib.data import FILES, encode_idx, verify

import numpy as np
from sklearn.datasets import load_digits

TRAIN_IMAGES = 1_500


def files() -> dict[str, bytes]:
    """The four IDX files, by name: 1,500 images for training and the other 297 for testing.

    Each pixel is repeated 3 x 3, two pixels of background go round, and 0..16 becomes 0..255. Raises PipelineError if
    another version of scikit-learn has other digits.
    """
    digits = load_digits()
    scaled = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    images = np.pad(scaled.repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (2, 2), (2, 2)))
    labels = digits.target.astype(np.uint8)
    parts = images[:TRAIN_IMAGES], labels[:TRAIN_IMAGES], images[TRAIN_IMAGES:], labels[TRAIN_IMAGES:]
    contents = dict(zip(FILES, map(encode_idx, parts), strict=True))
    for name, content in contents.items():
        verify("digits", name, content, "install the versions of requirements.txt")
    return contents
