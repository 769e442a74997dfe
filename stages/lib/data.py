"""The dataset: four IDX files of images and labels, checked against their SHA-256 whenever they are read.

The format is Yann LeCun's: two zero bytes, a type (0x08 is uint8), the number of dimensions, each dimension as
a big-endian 32-bit integer, then the raw bytes.
"""

import hashlib
import math
from pathlib import Path
from typing import NamedTuple

from stagecraft import inputs
from stagecraft.errors import REPAIR, PipelineError

import numpy as np

FOLDER = Path("data/raw")
TRAIN_FILES = FOLDER / "train-images-idx3-ubyte", FOLDER / "train-labels-idx1-ubyte"
TEST_FILES = FOLDER / "t10k-images-idx3-ubyte", FOLDER / "t10k-labels-idx1-ubyte"
FILES = tuple(path.name for path in TRAIN_FILES + TEST_FILES)
UINT8 = 0x08


class Dataset(NamedTuple):
    """What a dataset's four IDX files must be, where they come from, and what its ten classes are called.

    sha256: of each file, unpacked; if there are none, the download checks the MD5 of the archives.
    mirrors: folders that have the files, or URLs that have the archives. torchvision: the class of torchvision.datasets
    that knows more mirrors, the MD5 of the archives and the names of the classes.
    """

    sha256: dict[str, str]
    mirrors: tuple[str, ...] = ()
    torchvision: str = ""
    classes: tuple[str, ...] = tuple("0123456789")


# What `dataset` in params.yaml can name; one of your own needs an entry here and nothing else.
DATASETS = {
    "mnist": Dataset(
        {
            "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        torchvision="MNIST",
    ),
    "fashion-mnist": Dataset(  # Zalando's articles
        {
            "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
        torchvision="FashionMNIST",
        classes=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
    ),
    "kmnist": Dataset(  # cursive Japanese characters
        {},
        torchvision="KMNIST",
        classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    ),
    "digits": Dataset(  # no mirrors: stages/lib/digits.py makes them
        {
            "train-images-idx3-ubyte": "b3311c0e6724600922db4e7e20de3905fac083cd7bd793b7d12727cbda09ae5b",
            "train-labels-idx1-ubyte": "bd3edaa3a988280a3961d7c68a1df9acde2a3f3b377241ca8fcebd995127d8e8",
            "t10k-images-idx3-ubyte": "492603b900387b09357b9ef3844ea4d381247f234fa152d5056b51ca25b23db9",
            "t10k-labels-idx1-ubyte": "e6698ad083c2c36b514003f58a4da1112904c486bc4ed10f9f6ac2b47ee729c7",
        },
    ),
}


class Split(NamedTuple):
    """Images and labels of one part of the dataset.

    images: (n, 28, 28) uint8, 0 is background and 255 is ink; labels: (n,) uint8, 0 to 9.
    """

    images: np.ndarray
    labels: np.ndarray


def load_train(dataset: str) -> Split:
    """Read the training images and labels from data/raw: 1,500 of `digits`, 60,000 of the others."""
    return _load(dataset, TRAIN_FILES)


def load_test(dataset: str) -> Split:
    """Read the test images and labels from data/raw: 297 of `digits`, 10,000 of the others."""
    return _load(dataset, TEST_FILES)


def _load(dataset: str, paths: tuple[Path, Path]) -> Split:
    images, labels = (_read_idx(dataset, path) for path in paths)
    if images.shape != (*labels.shape, 28, 28) or labels.max(initial=0) > 9:
        raise PipelineError(
            f"{dataset} does not fit the network: expected images of shape (n, 28, 28) and n labels from 0 to 9, "
            f"found {images.shape} and {labels.shape}, labels up to {labels.max(initial=0)}"
        )
    return Split(images, labels)


def _read_idx(dataset: str, path: Path) -> np.ndarray:
    content = inputs.read(path)
    verify(dataset, path.name, content, REPAIR)
    return decode_idx(content)


def is_known(content: bytes) -> bool:
    """Whether `content` is a file of one of the datasets, by its SHA-256."""
    found = hashlib.sha256(content).hexdigest()
    return any(found in dataset.sha256.values() for dataset in DATASETS.values())


def is_published(dataset: str, name: str, content: bytes) -> bool:
    """Whether `content` is the published file `name` of `dataset`, by its SHA-256; if that has none, of no other."""
    expected = DATASETS[dataset].sha256
    return hashlib.sha256(content).hexdigest() == expected[name] if expected else not is_known(content)


def verify(dataset: str, name: str, content: bytes, advice: str) -> None:
    """Raise PipelineError, which ends with what to do, unless `is_published`."""
    if not is_published(dataset, name, content):
        raise PipelineError(
            f"{name} is not the one of {dataset}: expected SHA-256 {DATASETS[dataset].sha256.get(name, 'of its own')}, "
            f"found {hashlib.sha256(content).hexdigest()} in {len(content):,} bytes; {advice}"
        )


def encode_idx(array: np.ndarray) -> bytes:
    """The IDX file of a uint8 array of any shape."""
    return bytes([0, 0, UINT8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def decode_idx(content: bytes) -> np.ndarray:
    """The uint8 array in an IDX file; raises PipelineError if header and length don't fit each other."""
    if len(content) < 4 or content[:3] != bytes([0, 0, UINT8]):
        raise PipelineError(
            f"not an IDX file of bytes: expected it to start with 00 00 08, found {content[:3].hex(' ')}"
        )
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise PipelineError(f"IDX header cut short: expected {start} bytes, found {len(content)}")
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], ">u4"))
    expected = start + math.prod(shape)
    if len(content) != expected:
        raise PipelineError(f"IDX file of shape {shape} should have {expected:,} bytes, but has {len(content):,}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
