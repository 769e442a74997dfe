"""Pictures: one style, grids of small images, and PNG files that are the same bytes on every machine."""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stagecraft import output

os.environ.pop("FREETYPE_PROPERTIES", None)  # read at the import: it changes how letters are drawn
os.environ["MPLBACKEND"] = "agg"  # a notebook names one of its own, which may be missing here

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

matplotlib.rcdefaults()  # a user's own matplotlibrc must not change a result
matplotlib.rcParams.update(
    {
        "font.family": "DejaVu Sans",  # comes with matplotlib
        "font.size": 10,
        "axes.titlesize": 10,
        "figure.titlesize": 12,
        "figure.facecolor": "white",
        "savefig.dpi": 120,
        "figure.constrained_layout.use": True,
        "figure.constrained_layout.h_pad": 0.08,
        "figure.constrained_layout.w_pad": 0.08,
        "image.cmap": "gray",
        "image.interpolation": "nearest",
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)

LETTER_INCHES = 0.08  # how wide a letter of a title is, on average


def save(figure: Figure, path: str | Path) -> None:
    """Write a PNG without the version of matplotlib in it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    output.write_bytes(path, buffer.getvalue())


def titled_images(images: Sequence[Any], titles: Sequence[str], columns: int, width: float, title: str = "") -> Figure:
    """Images (28, 28) of values in [0, 1], `columns` to a row, each under its own title.

    width: of an image in inches; it becomes wider if a title needs that.
    """
    width = max([width, *(LETTER_INCHES * len(line) for name in titles for line in name.splitlines())])
    columns = max(1, min(columns, len(images)))
    rows = max(1, -(-len(images) // columns))
    lines = max((name.count("\n") + 1 for name in titles), default=1)
    cell, head = width + 0.1 + 0.17 * lines, 0.4 if title else 0
    size = max(4 if title else 0, width * columns), cell * rows + head
    figure = Figure(figsize=size)
    figure.set_layout_engine("none")  # to work out the places, which are known, takes longer than to draw
    figure.suptitle(title)
    for position, (image, name) in enumerate(zip(images, titles, strict=True)):
        row, column = divmod(position, columns)
        left = (size[0] - width * columns) / 2 + width * column + 0.08
        bottom = size[1] - head - cell * (row + 1) + 0.08
        side = width - 0.16
        axes = figure.add_axes((left / size[0], bottom / size[1], side / size[0], side / size[1]))
        axes.imshow(np.asarray(image), vmin=0, vmax=1)
        axes.set_title(name)
        axes.set_axis_off()
    return figure


def mosaic(images: np.ndarray, columns: int) -> np.ndarray:
    """Images (n, h, w) as one float array, `columns` to a row, with a gap of one NaN pixel between them.

    Places that n leaves free in the last row are NaN, too.
    """
    n, height, width = images.shape
    rows = -(-n // columns)
    cells = np.full((rows * columns, height + 1, width + 1), np.nan)
    cells[:n, :height, :width] = images
    joined = cells.reshape(rows, columns, height + 1, width + 1).swapaxes(1, 2)
    return joined.reshape(rows * (height + 1), columns * (width + 1))[:-1, :-1]


def bare(axes: Axes) -> None:
    """Take the frame and the ticks away, but leave the tick labels."""
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
