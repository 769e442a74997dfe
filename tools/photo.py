"""A photo or drawing of one digit, as an image like MNIST's.

MNIST's makers scaled each digit into a box of 20 x 20 pixels, keeping its aspect ratio, and put its centre of mass in
the middle of 28 x 28 (LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist).
"""

import warnings
from pathlib import Path
from typing import NamedTuple

from drawing import doubt
from stagecraft.errors import PipelineError

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

SIDE, BOX = 28, 20
WORKING_SIDE = 560  # larger photos are shrunk to this: enough for a box of 20 in a tenth of it
WIDE = 4  # a stroke is narrower than a quarter of the picture; what is wider is a table, a sheet or a shadow
DIM = 0.5  # of the brightest paper: what lies in less light counts less, as dark tables are rough
DARKEST = 99.8  # percent of the pixels are less dark than the darkest ink, as a small digit has few
FAINTEST = 0.15  # of the paper's brightness: a smaller difference is no ink
FAINT = 0.5  # of full ink: where a blurred stroke ends; the lines of the paper are mostly fainter
SMALLEST = 8  # pixels
SPECK = 0.05  # of the ink of the largest part: a smaller one is dirt
BREAK = 3  # pixels: parts that are nearer to each other are one, as the strokes of a 5
NEAR = 0.1  # of the largest part's length: what is farther from it is beside the digit
THINNEST = 2.0  # pixels of the box: thinner strokes are thickened, as MNIST has hardly any
DARK = 0.75  # of the paper round light ink: so much round dark ink is enough, as photos mostly show that
HEIC = b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"  # brands of such files, after `ftyp`
Image.MAX_IMAGE_PIXELS = 120_000_000  # Pillow refuses more than twice as many; phones take 200 megapixels


class Found(NamedTuple):
    """What may be a digit: its ink (h, w) in [0, 1], a doubt or "", and which part of its surroundings is paper."""

    digit: np.ndarray
    doubt: str
    surrounded: float


def prepare(path: str | Path) -> tuple[np.ndarray, np.ndarray, str]:
    """The photo upright and grey (h, w), what the network takes (28, 28), both float32 in [0, 1], and a doubt or "".

    What the network takes are whole 255ths, as in MNIST. The doubt says why it may not be one whole digit.
    Raises PipelineError if the file is no image or holds nothing that stands out.
    """
    gray = read(path)
    smooth = ndimage.gaussian_filter(gray, max(gray.shape) / WORKING_SIDE, mode="nearest")
    found = choose(find(smooth), find(1 - smooth))
    if not found:
        low, high = np.percentile(gray, [1, 99])
        raise PipelineError(
            f"found no digit in {path}: nothing narrow is {FAINTEST:.0%} darker or lighter than what is around it, and "
            f"its brightness is {low:.0%} to {high:.0%}; expected one digit in clear ink with some room around: take "
            "the photo nearer, in more and more even light"
        )
    seen = np.rint(centered(thickened(found.digit)) * 255) / np.float32(255)
    return gray, seen.astype(np.float32), found.doubt


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


def choose(dark: Found | None, light: Found | None) -> Found | None:
    """The digit in dark or light ink. The other one is the gaps between its strokes, its sheet, or None."""
    if not dark or not light:
        return dark or light
    if dark.surrounded >= DARK * light.surrounded:
        return dark
    close = dark.surrounded >= DARK**2 * light.surrounded
    return light._replace(doubt="it may be dark ink or light ink") if close else light


def find(gray: np.ndarray) -> Found | None:
    """What is darker than its paper in a picture (h, w) in [0, 1], or None if nothing is."""
    paper = background(gray)
    image = ink(gray, paper)
    if not image.any():
        return None
    digit, why = pick(image)
    middle = np.average(gray + paper, weights=digit) / 2  # between ink and paper
    margins = [(side.start, side.stop, (side.stop - side.start) // 2) for side in _box(digit > FAINT)]
    around = tuple(slice(max(0, start - margin), stop + margin) for start, stop, margin in margins)
    return Found(digit, why, float((gray[around] > middle).mean()))


def background(gray: np.ndarray) -> np.ndarray:
    """The brightness (h, w) of what lies under narrow dark things: gray, morphologically closed with a square.

    A closing keeps the edges of what is wider, so the edge of a sheet or of a shadow is no ink (Serra 1982).
    """
    size = max(gray.shape) // WIDE
    closed = ndimage.grey_closing(np.pad(gray, size, mode="symmetric"), (size, size))
    return closed[size:-size, size:-size]


def ink(gray: np.ndarray, paper: np.ndarray) -> np.ndarray:
    """How much ink each pixel holds (h, w), in [0, 1]: how much darker it is than its paper, whatever the light.

    All zero if nothing stands out.
    """
    darkness = (paper - gray) / np.maximum(paper, DIM * paper.max() or 1)
    half = np.percentile(darkness, DARKEST) / 2
    rest, full = darkness[darkness <= half], np.median(darkness[darkness >= half])
    level = np.median(rest)
    noise = 1.4826 * np.median(np.abs(rest - level))  # a standard deviation, if Gaussian
    low = level + 4 * noise
    if full - low < FAINTEST:
        return np.zeros_like(gray)
    return np.clip((darkness - low) / (full - low), 0, 1)


def pick(image: np.ndarray) -> tuple[np.ndarray, str]:
    """The digit in ink (h, w), without specks, what is beside it, from edge to edge or round it, and a doubt or ""."""
    mask = image > FAINT
    joined = ndimage.binary_dilation(mask, np.ones((3, 3)), iterations=BREAK)
    parts, n = ndimage.label(joined, np.ones((3, 3)))
    parts *= mask
    boxes = {i: box for i, box in enumerate(ndimage.find_objects(parts, n), start=1) if box}
    boxes = {i: box for i, box in boxes.items() if not _spans(box, image.shape)} or boxes
    boxes = {i: box for i, box in boxes.items() if not any(_surrounds(box, other) for other in boxes.values())}
    mass = ndimage.sum_labels(image, parts, np.arange(n + 1))
    whole = {i: box for i, box in boxes.items() if not _cut(box, image.shape)}
    if any(mass[i] > SPECK * max(mass[list(boxes)]) for i in whole):
        boxes = whole  # the rest is of the table
    largest = max(boxes, key=lambda i: mass[i])
    distance = ndimage.minimum(ndimage.distance_transform_edt(parts != largest), parts, np.arange(n + 1))
    reach = NEAR * max(side.stop - side.start for side in boxes[largest])
    others = [i for i in boxes if mass[i] >= SPECK * mass[largest] and i != largest]
    digit = np.where(np.isin(parts, [largest, *(i for i in others if distance[i] <= reach)]), image, 0)
    apart = 1 - mass[largest] / mass[[largest, *others]].sum()
    if apart > doubt.APART_IN_PHOTO:
        return digit, f"{apart:.0%} of the ink lies apart from the rest"
    if _cut(boxes[largest], image.shape):
        return digit, "it runs into the edge of the picture"
    return digit, ""


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    """The rows and columns that hold all that is true."""
    return ndimage.find_objects(mask.astype(np.uint8))[0]


def _cut(box: tuple[slice, ...], shape: tuple[int, ...]) -> bool:
    """Whether a part runs into the edge of the picture."""
    return any(side.start == 0 or side.stop == size for side, size in zip(box, shape, strict=True))


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
    pixel = max(mask[_box(mask)].shape) / BOX
    width = 4 * ndimage.distance_transform_edt(mask)[mask].mean() - 2  # of a long stroke, from its mean distance
    missing = round((THINNEST * pixel - width) / 2)
    if missing <= 0:
        return image
    y, x = np.indices((2 * missing + 1, 2 * missing + 1)) - missing
    disk = y * y + x * x <= missing * missing
    return ndimage.grey_dilation(np.pad(image, missing), footprint=disk)


def centered(image: np.ndarray) -> np.ndarray:
    """Ink (h, w) in [0, 1] scaled into a 20 x 20 box, its centre of mass in the middle of (28, 28) float32."""
    digit = image[_box(image > FAINT)].astype(np.float32)
    height, width = (max(1, round(size * BOX / max(digit.shape))) for size in digit.shape)
    small = np.asarray(Image.fromarray(digit).resize((width, height), Image.Resampling.BOX))
    middle = ndimage.center_of_mass(small)
    top, left = (
        int(np.clip(round(SIDE / 2 - at), 0, SIDE - size)) for at, size in zip(middle, small.shape, strict=True)
    )
    seen = np.zeros((SIDE, SIDE), np.float32)
    seen[top : top + height, left : left + width] = small
    return seen
