from contextlib import chdir
from pathlib import Path

from stages import render
from stages.lib import data, plot

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image


@pytest.fixture(scope="module")
def figures(small: Path) -> dict[str, Figure]:
    """What the stage draws, by the name of the file, and the settings of `small`: eight images in the row."""
    drawn: dict[str, Figure] = {}
    with chdir(small), pytest.MonkeyPatch.context() as patch:
        patch.setattr(plot, "save", lambda figure, path: drawn.update({Path(path).name: figure}))
        render.main()
    return drawn


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L"))


def test_the_three_routes_give_the_same_array_and_name_its_shapes() -> None:
    image = torch.arange(6.0).reshape(1, 2, 3)
    for view in render.views(image).values():
        np.testing.assert_array_equal(view, [[0, 1, 2], [3, 4, 5]])
    assert [name.splitlines()[1:] for name in render.views(image)] == [
        ["channel, row, column: (1, 2, 3)", "squeeze() → (2, 3)"],
        ["channel, row, column: (1, 2, 3)", "squeeze() → (2, 3)"],
        ["row, column, channel: (2, 3, 1)", "squeeze(2) → (2, 3)"],
    ]


def test_the_three_views_are_pixel_equal(small: Path) -> None:
    picture = pixels(small / "plots/samples/views.png")
    below_titles = picture[picture.shape[0] // 4 :]
    panels = np.split(below_titles, 3, axis=1)
    assert panels[0].min() == 0 and panels[0].max() == 255
    np.testing.assert_array_equal(panels[0], panels[1])
    np.testing.assert_array_equal(panels[0], panels[2])


def test_the_grid_has_the_first_of_each_class_in_its_row() -> None:
    labels = np.array([4, 0, 4, 9, 4], np.uint8)
    images = np.arange(1, 6, dtype=np.uint8)[:, None, None] * np.ones((2, 2), np.uint8)
    found = render.first_of_each_class(data.Split(images, labels), 2)
    expected = np.zeros((10, 2), np.uint8)
    expected[0, 0], expected[4], expected[9, 0] = 2, [1, 3], 4
    assert found.shape == (20, 2, 2)
    np.testing.assert_array_equal(found[:, 0, 0], expected.ravel())


def test_the_pictures_show_the_image_they_name(small: Path) -> None:
    # Each image pixel covers many picture pixels; the centre of each must have its gray value.
    image = data.decode_idx((small / data.FOLDER / "train-images-idx3-ubyte").read_bytes())[0]
    picture = pixels(small / "plots/samples/digit.png")
    dark = np.flatnonzero((picture == 0).mean(axis=1) > 0.3)
    rows = np.linspace(dark[0], dark[-1] + 1, 57)[1::2].astype(int)
    dark = np.flatnonzero((picture[rows] == 0).mean(axis=0) > 0.3)
    columns = np.linspace(dark[0], dark[-1] + 1, 57)[1::2].astype(int)
    assert np.abs(picture[np.ix_(rows, columns)].astype(int) - image).max() <= 1


def test_images_of_the_row_and_rows_of_the_grid_have_their_classes_as_titles(small, figures):
    with chdir(small):
        images, labels = data.load_train("digits")
    axes = figures["row.png"].axes
    assert [one.get_title() for one in axes] == [f"Class : {label}" for label in labels[:8]]
    for one, image in zip(axes, images, strict=False):
        np.testing.assert_allclose(one.images[0].get_array(), image / 255, rtol=1e-6)
    (axes,) = figures["grid.png"].axes
    assert [text.get_text() for text in axes.get_yticklabels()] == list("0123456789")
    assert list(axes.get_yticks()) == sorted(axes.get_yticks())
    assert axes.yaxis_inverted()  # as in a picture: small numbers at the top
