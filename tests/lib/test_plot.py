import io
from pathlib import Path

from stages.lib import plot

import numpy as np
from PIL import Image


def test_mosaic_puts_images_in_rows_with_gaps_between() -> None:
    images = np.arange(1, 6)[:, None, None] * np.ones((2, 3))
    grid = plot.mosaic(images, 3)
    gap = np.nan
    top, bottom = [1, 1, 1, gap, 2, 2, 2, gap, 3, 3, 3], [4, 4, 4, gap, 5, 5, 5, gap, gap, gap, gap]
    np.testing.assert_array_equal(grid, [top, top, [gap] * 11, bottom, bottom])


def test_png_is_the_same_bytes_again_and_names_no_software(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        plot.save(plot.titled_images([np.eye(4)], ["eye"], 1, 1.0), tmp_path / name)
    content = (tmp_path / "a.png").read_bytes()
    assert content == (tmp_path / "b.png").read_bytes()
    assert "Software" not in Image.open(io.BytesIO(content)).info
