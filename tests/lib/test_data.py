import gzip
import struct
from contextlib import chdir

from stagecraft.errors import PipelineError
from stages.lib import data, tensors

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
        (b"", "found "),
        (b"\0\0\x09\1\0\0\0\1a", "found 00 00 09"),
        (gzip.compress(b"x", mtime=0), "found 1f 8b 08"),
        (b"\0\0\x08\3\0\0\0\1", "header cut short: expected 16 bytes, found 8"),
        (b"\0\0\x08\1\0\0\0\3ab", "should have 11 bytes, but has 10"),
        (b"\0\0\x08\1\0\0\0\3abcd", "should have 11 bytes, but has 12"),
        (b"\0\0\x08\4" + b"\0\1\0\0" * 4, "should have 18,446,744,073,709,551,636 bytes, but has 20"),
    ],
)
def test_idx_that_is_wrong_is_refused(content, expected):
    with pytest.raises(PipelineError, match=expected):
        data.decode_idx(content)


def test_a_file_changed_or_gone_after_download_is_refused(small, tmp_path):
    (tmp_path / data.FOLDER).mkdir(parents=True)
    for name in data.DATASETS["digits"].sha256:
        content = bytearray((small / data.FOLDER / name).read_bytes())
        content[-1] ^= name.startswith("train-labels")
        (tmp_path / data.FOLDER / name).write_bytes(content)
    with chdir(tmp_path):
        data.load_test("digits")
        with pytest.raises(PipelineError, match="train-labels-idx1-ubyte is not the one of digits"):
            data.load_train("digits")
        data.TRAIN_FILES[0].unlink()
        with pytest.raises(PipelineError, match="can't read data/raw/train-images-idx3-ubyte"):
            data.load_train("digits")


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


def test_mnist_is_what_the_notebook_shows(mnist, tmp_path):
    with chdir(mnist):
        train, test = data.load_train("mnist"), data.load_test("mnist")
    assert (len(train.labels), len(test.labels)) == (60_000, 10_000)
    images = tensors.to_tensors(train)
    assert (images.images[0].shape, images.labels[0].item()) == ((28, 28), 5)
    batches = images.every().split(100)
    assert len(batches) == 600
    assert [part.shape for part in images.batch(batches[0])] == [(100, 784), (100,)]

    (tmp_path / "MNIST").mkdir()
    (tmp_path / "MNIST/raw").symlink_to((mnist / data.FOLDER).resolve())
    for is_train, split in ((True, train), (False, test)):
        reference = MNIST(tmp_path, train=is_train)
        np.testing.assert_array_equal(reference.data.numpy(), split.images)
        np.testing.assert_array_equal(reference.targets.numpy(), split.labels)
