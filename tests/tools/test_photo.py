"""Photos of one digit, made like MNIST's images: geometry on drawn shapes, agreement on MNIST itself."""

from pathlib import Path
from typing import Any

from stagecraft.errors import PipelineError
from stages.lib import data
from tools import photo, predict

import numpy as np
import pytest
from PIL import Image, ImageOps

PNG, TIFF = ("1", "L", "LA", "P", "RGB", "RGBA"), ("CMYK", "LAB", "I", "I;16", "F")  # modes that these files can have


def seven(height: int = 240, width: int = 200, top: int = 70, left: int = 90) -> np.ndarray:
    """A 7 of 120 x 60 pixels, white on black."""
    image = np.zeros((height, width), np.uint8)
    image[top : top + 24, left : left + 60] = 255
    image[top + 24 : top + 120, left + 40 : left + 60] = 255
    return image


def prepared(image: Image.Image | np.ndarray, under: Path, kind: str = "png", **options: Any) -> tuple[np.ndarray, str]:
    """What is seen of a picture once it was saved, and the doubt."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    path = under / f"photo.{'tif' if image.mode in TIFF else kind}"
    image.save(path, **options)
    return photo.prepare(path)[1:]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return prepared(seven(), tmp_path_factory.mktemp("plain"))[0]


def test_digit_fills_the_box_and_its_mass_lies_in_the_middle(plain):
    rows, columns = np.nonzero(plain)
    assert plain.dtype == np.float32
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (20, 10)
    assert plain.max() == 1
    for place in np.indices((28, 28)):  # like MNIST, of whose test images the centre of mass lies at 13.5 to 14.5
        assert 13.5 <= np.average(place, weights=plain) <= 14.5


@pytest.mark.parametrize("place", [(0, 0), (120, 140), (3, 77)])
def test_place_of_the_digit_does_not_matter(place, plain, tmp_path):
    assert np.abs(prepared(seven(240, 200, *place), tmp_path)[0] - plain).max() < 0.02


def marked(*places: Any, on: np.ndarray | None = None, value: float = 255) -> np.ndarray:
    """A picture, or that 7, with these places of another value."""
    image = (seven() if on is None else on).astype(np.float32)
    for place in places:
        image[place] = value
    return image


SAME = {mode: Image.fromarray(seven()).convert(mode) for mode in (*PNG, *TIFF) if mode != "I;16"} | {
    "I;16": seven().astype(np.uint16) * 200,
    "dark on light": 255 - seven(),
    "black on a transparent ground": np.stack([np.zeros_like(seven()), seven()], axis=-1),
    "white on a transparent ground": np.stack([np.full_like(seven(), 255), seven()], axis=-1),
    "a value that is no number": marked((5, 5), value=np.nan),
    "a value that is infinite": marked((5, 5), value=np.inf),
    "lines beside it": marked(np.s_[:, 20:23], np.s_[2:238, 180:183]),
    "a frame round it": np.pad(np.pad(seven(214, 174), 3, constant_values=255), 10),
    "specks beside it": marked(np.s_[0:80:40, ::30], np.s_[130:132, 159:161]),
    "ink that is a sixth darker than the paper": (230 - seven() * (0.16 * 230 / 255)).astype(np.uint8),
}


@pytest.mark.parametrize("picture", SAME)
def test_mode_and_ground_and_what_is_beside_the_digit_do_not_matter(picture, plain, tmp_path):
    found, doubt = prepared(SAME[picture], tmp_path)
    assert np.abs(found - plain).max() < 0.02
    assert doubt == ""


def test_camera_orientation_is_undone(plain, tmp_path):
    turned = Image.fromarray(seven()).rotate(90, expand=True)
    turned.getexif()[0x0112] = 6  # to be seen turned by 90 degrees clockwise
    found, _ = prepared(turned, tmp_path, "jpg", exif=turned.getexif(), quality=95)
    assert np.abs(found - plain).mean() < 0.02


@pytest.mark.parametrize(("times", "kind"), [(10, "png"), (50, "jpg")])
def test_pictures_of_up_to_120_megapixels_are_read(times, kind, plain, tmp_path):
    large = Image.fromarray(seven()).resize((200 * times, 240 * times), Image.Resampling.NEAREST)
    assert np.abs(prepared(large, tmp_path, kind)[0] - plain).mean() < 0.02


def test_tiny_pictures_are_read_from_8_pixels_on(tmp_path):
    assert prepared(np.eye(8, dtype=np.uint8) * 255, tmp_path)[0].shape == (28, 28)
    with pytest.raises(PipelineError, match=r"photo\.png has 60 x 7 pixels; expected 8 or more each way"):
        prepared(Image.new("L", (60, 7)), tmp_path)


@pytest.mark.parametrize(
    ("level", "noise", "ink", "found"),
    [(0, 0, 0, "0%"), (51, 0, 0, "20% to 20%"), (255, 0, 0, "100%"), (200, 8, 0, "7.%"), (230, 0, 0.14, "77% to 90%")],
)
def test_blank_and_noisy_paper_and_faint_ink_are_refused_with_their_brightness(level, noise, ink, found, tmp_path):
    picture = np.random.default_rng(0).normal(level * (1 - ink * (seven() > 0)), noise).astype(np.uint8)
    with pytest.raises(PipelineError, match=f"found no digit .* brightness is {found}.* in more and more even light"):
        prepared(picture, tmp_path)


def on_paper(height: int = 240, width: int = 200) -> np.ndarray:
    """A dark 7 in the middle of paper, in brightness from 0 to 1."""
    return 0.9 - 0.8 * seven(height, width, height // 2 - 60, width // 2 - 30) / 255


def test_hardly_any_noise_is_ink_and_it_hides_none():
    picture = on_paper() + np.random.default_rng(0).normal(0, 0.1, (240, 200))
    found, digit = photo.ink(picture, photo.background(picture)), on_paper() < 0.5
    assert (found[~digit] > 0).mean() < 5e-4
    assert (found[digit] > 0.5).mean() > 0.95


NOISE = np.random.default_rng(0).normal(0, 0.02, (420, 400))
SHADED = 0.55 + 0.3 * np.linspace(-1, 1, 200) + NOISE[:240, :200] / 2 - seven() / 1020
TAKEN = {
    "on a table": marked(np.s_[60:300, 80:280], on=0.3 + NOISE, value=on_paper()),
    "with a strip of the table": marked(np.s_[:, 230:], on=on_paper(300, 260), value=0.25),
    "in a hard shadow": on_paper() * np.where(np.add.outer(range(240), range(200)) > 220, 0.4, 1),
    "above text, of less ink than is worth a doubt": marked(np.s_[228:234, 70:190:3], on=on_paper(300, 260), value=0.1),
    "on lined paper": np.minimum(on_paper(), marked(np.s_[::30], on=on_paper(), value=0.75)),
    "with a shadow, noise and a speck": marked(np.s_[10:13, 10:13], on=SHADED, value=0),
}


@pytest.mark.parametrize("picture", TAKEN)
def test_light_noise_lines_table_and_text_are_not_ink(picture, plain, tmp_path):
    found, doubt = prepared((TAKEN[picture].clip(0, 1) * 255).astype(np.uint8), tmp_path)
    assert np.abs(found - plain).mean() < 0.02
    assert doubt == ""


def test_what_lies_apart_and_a_digit_that_is_cut_off_are_doubted(tmp_path):
    two = np.maximum(seven(240, 300, 70, 30), seven(240, 300, 70, 190))
    assert prepared(two, tmp_path)[1] == "50% of the ink lies apart from the rest"
    assert prepared(marked(np.s_[150:170, 30:50]), tmp_path)[1] == "11% of the ink lies apart from the rest"
    two[150:153, 140:143] = 255  # a speck, which isn't the digit only because it is whole
    assert prepared(two[:, 60:160], tmp_path)[1] == "it runs into the edge of the picture"


def test_thin_strokes_are_thickened(tmp_path):
    image = np.zeros((1200, 1000), np.uint8)
    image[350:352, 450:750] = image[350:950, 748:750] = 255
    assert 1.5 <= prepared(image, tmp_path)[0][14].sum() <= 2.6


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        *((content, "can't read .* as an image") for content in (b"seven", b"", b"half")),
        (b"\0\0\0\x18ftypheic", "is a HEIC photo, which can't be read here; export it as a JPEG"),
    ],
)
def test_what_is_no_image_or_half_of_one_is_refused(content, expected, tmp_path):
    prepared(seven(), tmp_path)
    path = tmp_path / "photo.png"
    path.write_bytes(path.read_bytes()[:100] if content == b"half" else content)
    with pytest.raises(PipelineError, match=expected):
        photo.prepare(path)


@pytest.mark.parametrize("name", ["missing.png", "."])
def test_what_is_no_file_is_named(name, tmp_path):
    with pytest.raises(PipelineError, match="there is no file"):
        photo.prepare(tmp_path / name)


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_predictions_agree_with_those_of_the_original_images(dark, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(trained)
    same = []
    for image in data.load_test("mnist").images[:100]:
        large = ImageOps.expand(Image.fromarray(image).resize((224, 224), Image.Resampling.BICUBIC), (7, 190, 300, 20))
        found, _ = prepared(ImageOps.invert(large) if dark else large, tmp_path)
        pair = found, image / np.float32(255)
        same.append(len({int(predict.probabilities(each).argmax()) for each in pair}) == 1)
    assert np.mean(same) >= 0.9
