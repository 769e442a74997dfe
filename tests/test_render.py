from pathlib import Path

from stages import render
from stages.lib import data

import numpy as np
import torch
from PIL import Image


def test_the_three_routes_give_the_same_array_and_name_its_shapes() -> None:
    image = torch.arange(6.0).reshape(1, 2, 3)
    views, first = render.views(image), ["channel, row, column: (1, 2, 3)", "squeeze() → (2, 3)"]
    for view in views.values():
        np.testing.assert_array_equal(view, [[0, 1, 2], [3, 4, 5]])
    last = ["row, column, channel: (2, 3, 1)", "squeeze(2) → (2, 3)"]
    assert [name.splitlines()[1:] for name in views] == [first, first, last]


def test_the_grid_has_the_first_of_each_class_in_its_row() -> None:
    labels = np.array([4, 0, 4, 9, 4], np.uint8)
    images = np.arange(1, 6, dtype=np.uint8)[:, None, None] * np.ones((2, 2), np.uint8)
    found = render.first_of_each_class(data.Split(images, labels), 2)
    expected = np.zeros((10, 2), np.uint8)
    expected[0, 0], expected[4], expected[9, 0] = 2, [1, 3], 4
    assert found.shape == (20, 2, 2)
    np.testing.assert_array_equal(found[:, 0, 0], expected.ravel())


def test_the_pictures_of_one_image_show_it_once_and_in_each_of_its_three_views(small: Path) -> None:
    # Each image pixel covers many picture pixels; the centre of each must have its gray value.
    image = data.decode_idx((small / data.FOLDER / "train-images-idx3-ubyte").read_bytes())[0]
    folder = small / "plots/samples"
    digit, views = (np.asarray(Image.open(folder / name).convert("L")) for name in ("digit.png", "views.png"))
    for picture in (digit, *np.split(views, 3, axis=1)):
        dark = np.flatnonzero((picture == 0).mean(axis=1) > 0.3)
        rows = np.linspace(dark[0], dark[-1] + 1, 57)[1::2].astype(int)
        dark = np.flatnonzero((picture[rows] == 0).mean(axis=0) > 0.3)
        columns = np.linspace(dark[0], dark[-1] + 1, 57)[1::2].astype(int)
        assert np.abs(picture[np.ix_(rows, columns)].astype(int) - image).max() <= 1
