import shutil
import struct
from contextlib import chdir

from stagecraft.errors import PipelineError
from stages.lib import data

import numpy as np
import pytest
from torchvision.datasets import MNIST
from torchvision.datasets.mnist import read_sn3_pascalvincent_tensor


def test_idx_round_trip_agrees_with_torchvision(tmp_path):
    array = np.arange(2 * 3 * 5, dtype=np.uint8).reshape(2, 3, 5)
    content = data.encode_idx(array)
    assert content[:16] == struct.pack(">HBBIII", 0, 8, 3, 2, 3, 5)
    np.testing.assert_array_equal(data.decode_idx(content), array)
    (tmp_path / "file").write_bytes(content)
    np.testing.assert_array_equal(read_sn3_pascalvincent_tensor(str(tmp_path / "file")).numpy(), array)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\0\0\x08", "found "),
        (b"\0\0\x09\1\0\0\0\1a", "found 00 00 09"),
        (b"\0\0\x08\3\0\0\0\1", "header cut short: expected 16 bytes, found 8"),
        (b"\0\0\x08\1\0\0\0\3ab", "should have 11 bytes, but has 10"),
        (b"\0\0\x08\1\0\0\0\3abcd", "should have 11 bytes, but has 12"),
        (b"\0\0\x08\4" + b"\0\1\0\0" * 4, "should have 18,446,744,073,709,551,636 bytes, but has 20"),
    ],
)
def test_idx_that_is_wrong_is_refused(content, expected):
    with pytest.raises(PipelineError, match=expected):
        data.decode_idx(content)


def test_a_file_changed_or_gone_after_download_is_refused(small, tmp_path, monkeypatch):
    shutil.copytree(small / data.FOLDER, tmp_path / data.FOLDER)
    monkeypatch.chdir(tmp_path)
    images, labels = data.TRAIN_FILES
    labels.write_bytes(labels.read_bytes()[:-1] + b"\n")
    with pytest.raises(PipelineError, match="train-labels-idx1-ubyte is not the one of digits"):
        data.load_train("digits")
    images.unlink()
    with pytest.raises(PipelineError, match="can't read data/raw/train-images-idx3-ubyte"):
        data.load_train("digits")
    data.load_test("digits")


@pytest.mark.parametrize(
    ("images", "labels"),
    [((3, 28, 28), [1, 2, 26]), ((3, 28, 28), [1, 2]), ((3, 28, 27), [1, 2, 3]), ((3, 784), [1, 2, 3])],
)
def test_a_dataset_that_does_not_fit_the_network_is_refused(images, labels, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(data.DATASETS, "letters", data.Dataset({}))
    data.FOLDER.mkdir(parents=True)
    for path, array in zip(data.TRAIN_FILES, (np.zeros(images), np.array(labels)), strict=True):
        path.write_bytes(data.encode_idx(array.astype(np.uint8)))
    with pytest.raises(PipelineError, match=f"letters does not fit .* labels up to {max(labels)}"):
        data.load_train("letters")


def test_mnist_is_torchvision_s(mnist, tmp_path):
    (tmp_path / "MNIST").mkdir()
    (tmp_path / "MNIST/raw").symlink_to((mnist / data.FOLDER).resolve())
    with chdir(mnist):
        splits = data.load_test("mnist"), data.load_train("mnist")
    for is_train, split in enumerate(splits):
        reference = MNIST(tmp_path, train=bool(is_train))
        np.testing.assert_array_equal(reference.data.numpy(), split.images)
        np.testing.assert_array_equal(reference.targets.numpy(), split.labels)
