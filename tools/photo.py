"""A photo or drawing of one digit, as an image like MNIST's.

MNIST's makers scaled each digit into a box of 20 x 20 pixels, keeping its aspect ratio, and put its centre of mass in
the middle of 28 x 28 (LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist).
"""

import warnings
from pathlib import Path

from stages.lib.errors import PipelineError

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

SIDE, BOX = 28, 20
WORKING_SIDE = 560  # larger photos are shrunk to this: enough for a box of 20 in a tenth of it
FAINTEST = 0.1  # of the way from black to white: less contrast is no ink
FAINT = 0.3  # of full ink: less, such as the lines of the paper, does not stretch the box
SMALLEST = 8  # pixels
SPECK = 0.05  # of the ink of the largest part: a smaller one is dirt
BREAK = 3  # pixels: parts that are nearer to each other are one, as the strokes of a 5
MUCH = 0.25  # of the ink of the largest part: so much elsewhere can't be ignored
THINNEST = 2.0  # pixels of the box: thinner strokes are thickened, as MNIST has hardly any
HEIC = b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"  # brands of such files, after `ftyp`
Image.MAX_IMAGE_PIXELS = 120_000_000  # Pillow refuses more than twice as many; phones take 200 megapixels


def prepare(path: str | Path) -> tuple[np.ndarray, np.ndarray, str]:
    """The photo upright and grey (h, w), what the network takes (28, 28), both float32 in [0, 1], and a doubt or "".

    What the network takes are whole 255ths, as in MNIST. The doubt says why it may not be one whole digit.
    Raises PipelineError if the file is no image or holds nothing that stands out.
    """
    gray = read(path)
    digit, doubt = pick(ink(gray))
    seen = np.rint(centered(thickened(digit)) * 255) / np.float32(255)
    return gray, seen.astype(np.float32), doubt


def read(path: str | Path) -> np.ndarray:
    """A picture of any size and mode as grey (h, w) float32 in [0, 1], turned as its camera meant it.

    Raises PipelineError if there is no such file or it is no image.
    """
    if not Path(path).is_file():
        raise PipelineError(f"there is no file {path}; expected the path of a picture of one digit")
    try:
        with Path(path).open("rb") as file:
            start = file.read(12)
        if start[4:8] == b"ftyp" and start[8:] in HEIC:
            raise PipelineError(f"{path} is a HEIC photo, which can't be read here; export it as a JPEG first")
        with warnings.catch_warnings(action="ignore"), Image.open(path) as opened:
            width, height = opened.size
            opened.draft("RGB", (2 * WORKING_SIDE, 2 * WORKING_SIDE))  # a JPEG is shrunk while it is read
            picture = ImageOps.exif_transpose(opened)
            picture.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise PipelineError(f"can't read {path} as an image; expected a PNG, JPEG or the like. {error}") from None
    if min(width, height) < SMALLEST:
        raise PipelineError(f"{path} has {width} x {height} pixels; expected {SMALLEST} or more each way")
    gray = _flatten(picture)
    gray.thumbnail((WORKING_SIDE, WORKING_SIDE))
    return np.asarray(gray, np.float32)


def _flatten(picture: Image.Image) -> Image.Image:
    """Grey, mode F, in [0, 1]; what is transparent becomes as unlike the rest as it can be."""
    if picture.mode in ("1", "L", "RGB", "CMYK", "YCbCr") and not picture.has_transparency_data:
        return picture.convert("L").convert("F").point(lambda value: value / 255)
    if picture.mode.startswith(("I", "F")):
        values = np.nan_to_num(np.asarray(picture, np.float64), nan=0, posinf=0, neginf=0)
        return Image.fromarray(((values - values.min()) / (np.ptp(values) or 1)).astype(np.float32))
    gray, opacity = (np.asarray(band, np.float32) / 255 for band in picture.convert("RGBA").convert("LA").split())
    behind = float(opacity.any() and np.average(gray, weights=opacity) < 0.5)
    return Image.fromarray(gray * opacity + behind * (1 - opacity))


def ink(gray: np.ndarray) -> np.ndarray:
    """How much ink each pixel holds, in [0, 1]; gray: (h, w) in [0, 1], the ink darker or lighter than the rest.

    Raises PipelineError if nothing stands out from the background.
    """
    difference = gray - background(gray)
    if (difference**3).sum() < 0:  # the few pixels far from the background are darker than it
        difference = -difference
    split = otsu(difference)
    noise = 1.4826 * np.median(np.abs(difference[difference <= split]))  # a standard deviation, if Gaussian
    outstanding = difference[difference > split]
    low, high = 4 * noise, np.percentile(outstanding, 75) if outstanding.size else 0
    if high - low < FAINTEST:
        raise PipelineError(
            f"found no digit: the ink differs from the paper by {max(high, 0):.0%} of the way from black to white, the "
            f"paper from itself by {noise:.0%}; expected one digit in clear ink on plain paper, with some room around"
        )
    return np.clip((difference - low) / (high - low), 0, 1)


def background(gray: np.ndarray) -> np.ndarray:
    """The brightness (h, w) of the paper under a digit: a plane, so that a shadow over one side is no ink.

    It is fitted first to the rim, which is mostly paper, then again and again to the half of all pixels nearest to it.
    """
    y, x = (np.linspace(-1, 1, size)[place] for size, place in zip(gray.shape, np.indices(gray.shape), strict=True))
    terms = np.stack([np.ones_like(x), x, y], axis=-1)
    paper = np.maximum(np.abs(x), np.abs(y)) > 0.8
    for _ in range(5):
        surface = terms @ np.linalg.lstsq(terms[paper], gray[paper], rcond=None)[0]
        distance = np.abs(gray - surface)
        paper = distance <= np.median(distance)
    return surface


def otsu(values: np.ndarray) -> float:
    """The threshold that splits values into the two classes with the least variance inside (Otsu 1979)."""
    ordered = np.sort(values, axis=None).astype(np.float64)
    count = np.arange(1, len(ordered))
    total = np.cumsum(ordered)
    means = total[:-1] / count, (total[-1] - total[:-1]) / count[::-1]
    return float(ordered[np.argmax(count * count[::-1] * (means[1] - means[0]) ** 2)])


def pick(image: np.ndarray) -> tuple[np.ndarray, str]:
    """The digit in ink (h, w), without specks and what runs from edge to edge or goes round it, and a doubt or ""."""
    mask = image > FAINT
    joined = ndimage.binary_dilation(mask, np.ones((3, 3)), iterations=BREAK)
    parts, n = ndimage.label(joined, np.ones((3, 3)))
    parts *= mask
    boxes = {i: box for i, box in enumerate(ndimage.find_objects(parts, n), start=1) if box}
    boxes = {i: box for i, box in boxes.items() if not _spans(box, image.shape)} or boxes
    boxes = {i: box for i, box in boxes.items() if not any(_surrounds(box, other) for other in boxes.values())}
    mass = ndimage.sum_labels(image, parts, np.arange(n + 1))
    largest = max(boxes, key=lambda i: mass[i])
    kept = [i for i in boxes if mass[i] >= SPECK * mass[largest]]
    digit = np.where(np.isin(parts, kept), image, 0)
    apart = sum(mass[i] for i in kept if i != largest) / mass[largest]
    if apart > MUCH:
        return digit, f"it has {len(kept)} separate parts"
    if any(side.start == 0 or side.stop == size for side, size in zip(boxes[largest], image.shape, strict=True)):
        return digit, "it runs into the edge of the picture"
    return digit, ""


def _spans(box: tuple[slice, ...], shape: tuple[int, ...]) -> bool:
    """Whether a part runs from one edge to the opposite one, as a margin line does."""
    return any(side.start <= BREAK and side.stop >= size - BREAK for side, size in zip(box, shape, strict=True))


def _surrounds(box: tuple[slice, ...], other: tuple[slice, ...]) -> bool:
    """Whether a part goes round another one that is no speck, as a frame does."""
    pairs = list(zip(box, other, strict=True))
    inside = all(side.start < inner.start and inner.stop < side.stop for side, inner in pairs)
    return inside and any(4 * (inner.stop - inner.start) > side.stop - side.start for side, inner in pairs)


def thickened(image: np.ndarray) -> np.ndarray:
    """Ink (h, w) whose strokes, once it is scaled into the box, are THINNEST pixels wide or more."""
    mask = image > FAINT
    rows, columns = np.nonzero(mask)
    pixel = max(np.ptp(rows), np.ptp(columns)) / BOX
    width = 4 * ndimage.distance_transform_edt(mask)[mask].mean() - 2  # of a long stroke, from its mean distance
    missing = round((THINNEST * pixel - width) / 2)
    if missing <= 0:
        return image
    y, x = np.indices((2 * missing + 1, 2 * missing + 1)) - missing
    disk = y * y + x * x <= missing * missing
    return ndimage.grey_dilation(np.pad(image, missing), footprint=disk)


def centered(image: np.ndarray) -> np.ndarray:
    """Ink (h, w) in [0, 1] scaled into a 20 x 20 box, its centre of mass in the middle of (28, 28) float32."""
    rows, columns = np.nonzero(image > FAINT)
    digit = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].astype(np.float32)
    height, width = (max(1, round(size * BOX / max(digit.shape))) for size in digit.shape)
    small = np.asarray(Image.fromarray(digit).resize((width, height), Image.Resampling.BOX))
    middle = ndimage.center_of_mass(small)
    top, left = (
        int(np.clip(round(SIDE / 2 - at), 0, SIDE - size)) for at, size in zip(middle, small.shape, strict=True)
    )
    seen = np.zeros((SIDE, SIDE), np.float32)
    seen[top : top + height, left : left + width] = small
    return seen
