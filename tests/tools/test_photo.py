"""Photos of one digit, made like MNIST's images: geometry on drawn shapes, agreement on MNIST itself."""

from pathlib import Path

from stagecraft import checkpoint
from stagecraft.errors import PipelineError
from stages.lib import data, model, params
from tools import photo

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

ORIENTATION = 0x0112  # the EXIF tag; 6 means: turn by 90 degrees clockwise to see it upright


def seven(height: int, width: int, top: int, left: int) -> np.ndarray:
    """A 7 of 120 x 60 pixels, white on black."""
    image = np.zeros((height, width), np.uint8)
    image[top : top + 24, left : left + 60] = 255
    image[top + 24 : top + 120, left + 40 : left + 60] = 255
    return image


def seen(image: Image.Image, folder: Path, name: str = "photo.png", **options: object) -> np.ndarray:
    image.save(folder / name, **options)
    return photo.prepare(folder / name)[1]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return seen(Image.fromarray(seven(240, 200, 70, 90)), tmp_path_factory.mktemp("plain"))


def test_digit_fills_the_box_and_its_mass_lies_in_the_middle(plain):
    rows, columns = np.nonzero(plain)
    assert plain.shape == (28, 28)
    assert plain.dtype == np.float32
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (20, 10)
    assert plain.max() == 1
    y, x = np.indices(plain.shape)
    # like MNIST, of whose test images the centre of mass lies at 13.5 to 14.5
    assert 13.5 <= (y * plain).sum() / plain.sum() <= 14.5
    assert 13.5 <= (x * plain).sum() / plain.sum() <= 14.5


@pytest.mark.parametrize("place", [(0, 0), (120, 140), (3, 77)])
def test_place_of_the_digit_does_not_matter(place, plain, tmp_path):
    assert np.abs(seen(Image.fromarray(seven(240, 200, *place)), tmp_path) - plain).max() < 0.02


def test_dark_on_light_equals_light_on_dark(plain, tmp_path):
    assert np.allclose(seen(ImageOps.invert(Image.fromarray(seven(240, 200, 70, 90))), tmp_path), plain, atol=0.02)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB", "I", "I;16"])
def test_mode_of_the_file_does_not_matter(mode, plain, tmp_path):
    gray = Image.fromarray(seven(240, 200, 70, 90))
    image = Image.fromarray(np.asarray(gray).astype(np.uint16) * 200) if mode == "I;16" else gray.convert(mode)
    name = "photo.tif" if mode in ("CMYK", "LAB", "I", "I;16") else "photo.png"
    assert np.abs(seen(image, tmp_path, name) - plain).max() < 0.02


@pytest.mark.parametrize("brightness", [0, 255])
def test_ink_on_a_transparent_ground_is_seen(brightness, plain, tmp_path):
    alpha = seven(240, 200, 70, 90)
    image = Image.fromarray(np.stack([np.full_like(alpha, brightness), alpha], axis=-1))
    assert np.abs(seen(image, tmp_path) - plain).max() < 0.02


def test_camera_orientation_is_undone(plain, tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    turned = Image.fromarray(seven(240, 200, 70, 90)).rotate(90, expand=True)
    assert np.abs(seen(turned, tmp_path, "photo.jpg", exif=exif, quality=95) - plain).mean() < 0.02


def test_shadow_noise_and_a_speck_are_not_ink(plain, tmp_path):
    paper = (
        0.55 + 0.3 * np.linspace(-1, 1, 200) * np.ones((240, 1)) + np.random.default_rng(0).normal(0, 0.01, (240, 200))
    )
    image = np.clip(paper - seven(240, 200, 70, 90) / 255 * 0.25, 0, 1)
    image[10:13, 10:13] = 0
    assert np.abs(seen(Image.fromarray((image * 255).astype(np.uint8)), tmp_path) - plain).mean() < 0.02


def test_large_and_tiny_pictures(plain, tmp_path):
    large = Image.fromarray(seven(240, 200, 70, 90)).resize((2000, 2400), Image.Resampling.NEAREST)
    assert np.abs(seen(large, tmp_path) - plain).mean() < 0.02
    assert seen(Image.fromarray(np.eye(8, dtype=np.uint8) * 255), tmp_path).shape == (28, 28)
    with pytest.raises(PipelineError, match=r"photo\.png has 60 x 7 pixels; expected 8 or more each way"):
        seen(Image.new("L", (60, 7)), tmp_path)


def test_faint_lines_of_the_paper_do_not_shrink_the_digit(plain, tmp_path):
    image = 255 - seven(240, 200, 70, 90)
    lines = image[::30]
    lines[lines == 255] = 215
    found = seen(Image.fromarray(image), tmp_path)
    assert np.ptp(np.nonzero(found > 0.5)[0]) + 1 == 20
    assert np.abs(found - plain).mean() < 0.02


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_no_ink(value, plain, tmp_path):
    image = seven(240, 200, 70, 90).astype(np.float32)
    image[5, 5] = value
    assert np.abs(seen(Image.fromarray(image), tmp_path, "photo.tif") - plain).max() < 0.02


@pytest.mark.parametrize("level", [0, 128, 255])
def test_blank_paper_is_refused(level, tmp_path):
    with pytest.raises(PipelineError, match="found no digit"):
        seen(Image.new("L", (60, 80), level), tmp_path)


def test_noise_is_refused(tmp_path):
    noise = np.random.default_rng(0).normal(200, 8, (120, 90)).astype(np.uint8)
    with pytest.raises(PipelineError, match="found no digit"):
        seen(Image.fromarray(noise), tmp_path)


def lined(image: np.ndarray) -> None:
    image[:, 20:23] = 255


def framed(image: np.ndarray) -> None:
    for edge in (image[10:13, 10:190], image[227:230, 10:190], image[10:230, 10:13], image[10:230, 187:190]):
        edge[:] = 255


def speckled(image: np.ndarray) -> None:
    image[::40, ::30][:2] = 255


@pytest.mark.parametrize("add", [lined, framed, speckled])
def test_what_is_beside_the_digit_is_no_part_of_it(add, plain, tmp_path):
    image = seven(240, 200, 70, 90)
    add(image)
    Image.fromarray(image).save(tmp_path / "photo.png")
    _, found, doubt = photo.prepare(tmp_path / "photo.png")
    assert np.abs(found - plain).max() < 0.02
    assert doubt == ""


def on_paper(shape: tuple[int, int], paper: float = 0.9) -> np.ndarray:
    """A dark 7 in the middle of paper, in brightness from 0 to 1."""
    height, width = shape
    return paper - (paper - 0.1) * seven(height, width, height // 2 - 60, width // 2 - 30) / 255


def on_a_table() -> np.ndarray:
    picture = np.random.default_rng(0).normal(0.3, 0.02, (420, 400))
    picture[60:300, 80:280] = on_paper((240, 200))
    return picture


def in_a_hard_shadow() -> np.ndarray:
    y, x = np.indices((240, 200))
    return on_paper((240, 200)) * np.where(x + y > 220, 0.4, 1)


def with_a_strip_of_table() -> np.ndarray:
    picture = on_paper((300, 260))
    picture[:, 230:] = 0.25
    return picture


def with_dark_corners() -> np.ndarray:
    y, x = (np.linspace(-1, 1, size)[place] for size, place in zip((240, 200), np.indices((240, 200)), strict=True))
    return on_paper((240, 200)) * (1 - 0.6 * (x * x + y * y) / 2)


def above_text() -> np.ndarray:
    picture = on_paper((300, 260))
    picture[228:234, 70:190:6] = picture[228:234, 71:190:6] = 0.1  # less ink than is worth a doubt
    return picture


@pytest.mark.parametrize(
    "photographed", [on_a_table, in_a_hard_shadow, with_a_strip_of_table, with_dark_corners, above_text]
)
def test_light_table_and_text_are_not_ink(photographed, plain, tmp_path):
    Image.fromarray((photographed() * 255).astype(np.uint8)).save(tmp_path / "photo.png")
    _, found, doubt = photo.prepare(tmp_path / "photo.png")
    assert np.abs(found - plain).mean() < 0.02
    assert doubt == ""


def test_gaps_between_strokes_of_chalk_are_not_ink(tmp_path):
    y, x = np.indices((240, 200))
    distance = np.hypot(y - 120, x - 100)
    ring = np.where((distance > 50) & (distance < 70), 210, 40).astype(np.uint8)
    found = seen(Image.fromarray(ring), tmp_path)
    assert found[14, 14] == 0
    assert found[14, 5] > 0.9


def test_a_refusal_speaks_of_light(tmp_path):
    with pytest.raises(PipelineError, match=r"brightness is 20% to 20%; .* in more and more even light"):
        seen(Image.new("L", (60, 80), 51), tmp_path)


def test_two_digits_and_one_that_is_cut_off_are_doubted(tmp_path):
    two = np.maximum(seven(240, 300, 70, 30), seven(240, 300, 70, 190))
    apart, cut = "50% of the ink lies apart from the rest", "it runs into the edge of the picture"
    for image, expected in ((two, apart), (two[:, 60:160], cut)):
        Image.fromarray(image).save(tmp_path / "photo.png")
        assert photo.prepare(tmp_path / "photo.png")[2] == expected


def test_thin_strokes_are_thickened(plain, tmp_path):
    image = np.zeros((1200, 1000), np.uint8)
    image[350:352, 450:750] = image[350:950, 748:750] = 255
    found = seen(Image.fromarray(image), tmp_path)
    assert 1.5 <= found[14].sum() <= 2.6


def test_a_photo_of_108_megapixels_is_read_and_a_heic_one_told_what_to_become(plain, tmp_path):
    large = Image.new("L", (12_000, 9_000))
    large.paste(Image.fromarray(seven(240, 200, 70, 90)).resize((6_000, 7_200), Image.Resampling.NEAREST), (3_000, 900))
    assert np.abs(seen(large, tmp_path, "photo.jpg") - plain).mean() < 0.02
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(PipelineError, match="is a HEIC photo, which can't be read here; export it as a JPEG"):
        photo.prepare(tmp_path / "photo.heic")


def test_what_is_no_image_is_refused(tmp_path):
    (tmp_path / "text.png").write_text("seven")
    whole = tmp_path / "whole.png"
    Image.fromarray(seven(240, 200, 70, 90)).save(whole)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:100])
    (tmp_path / "empty.png").touch()
    for name in ("text.png", "cut.png", "empty.png"):
        with pytest.raises(PipelineError, match=r"can't read .* as an image"):
            photo.prepare(tmp_path / name)
    for name in ("missing.png", "."):
        with pytest.raises(PipelineError, match="there is no file"):
            photo.prepare(tmp_path / name)


VARIANTS = {
    "enlarged": lambda image: image.resize((280, 280), Image.Resampling.NEAREST),
    "inverted": lambda image: ImageOps.invert(image.resize((280, 280), Image.Resampling.BICUBIC)),
    "moved": lambda image: ImageOps.expand(image.resize((224, 224), Image.Resampling.NEAREST), (7, 190, 300, 20)),
}


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_predictions_agree_with_those_of_the_original_images(variant, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(trained)
    images = data.load_test("mnist").images[:100]
    settings = params.load()
    network = model.empty(settings)
    checkpoint.load("models/checkpoint.safetensors", network, settings.network())
    prepared = np.stack([seen(VARIANTS[variant](Image.fromarray(image)), tmp_path) for image in images])
    originals = torch.from_numpy(images.astype(np.float32) / 255)
    predicted = [network(batch.flatten(1)).argmax(1) for batch in (originals, torch.from_numpy(prepared))]
    assert (predicted[0] == predicted[1]).float().mean() >= 0.9
