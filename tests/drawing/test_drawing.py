"""The page on which one draws a digit, as Chromium shows it without a network."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import chdir
from decimal import Decimal, localcontext
from pathlib import Path

from drawing import chain, doubt, page
from stagecraft import checkpoint
from stages.lib import data, model, params, tensors
from stages.lib.params import Initial
from tests.browser import Browser, needs_chromium
from tests.shapes import AFTERWARDS, CHOSEN, OTHERS
from tools import photo

import numpy as np
import pandas
import pytest
import samebits
import torch
from samebits import grid
from torch import nn
from torch.nn import functional

EXACT = samebits.exact()
TYPICAL = doubt.Outlines(np.zeros((1, 196), np.uint8), np.zeros(1, np.int64))
# The strokes of a digit, in fractions of the paper
THREE = [[(0.3, 0.2), (0.45, 0.15), (0.6, 0.2), (0.65, 0.3), (0.55, 0.45), (0.42, 0.48), (0.56, 0.5), (0.68, 0.6),
          (0.65, 0.75), (0.5, 0.85), (0.3, 0.8)]]  # fmt: skip
ZERO = [[(0.5, 0.15), (0.35, 0.25), (0.3, 0.5), (0.35, 0.75), (0.5, 0.85), (0.65, 0.75), (0.7, 0.5), (0.65, 0.25),
         (0.5, 0.15)]]  # fmt: skip
ONE = [[(0.5, 0.15), (0.48, 0.85)]]
ELEVEN = [[(0.35, 0.2), (0.35, 0.8)], [(0.65, 0.2), (0.65, 0.8)]]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser
        assert not browser.complaints


@pytest.fixture(scope="module")
def small(small: Path, tmp_path_factory: pytest.TempPathFactory, run_stages: Callable[..., None]) -> Iterator[Path]:
    """As for all tests, but with a network that the page can compute, whatever model.py has."""

    def sigmoid(hidden_units: int) -> nn.Module:
        return nn.Sequential(nn.Linear(784, hidden_units), nn.Sigmoid(), nn.Linear(hidden_units, 10))

    folder = tmp_path_factory.mktemp("drawing")
    (folder / "data").symlink_to(small / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(model.MODELS, "sequential", sigmoid)
        with chdir(folder):
            run_stages("build", "train", "evaluate", "draw")
        yield folder


@pytest.fixture(scope="module")
def network(small: Path) -> nn.Module:
    """The network that the stages trained on the digits."""
    with chdir(small):
        settings = params.load()
        network = model.empty(settings)
        checkpoint.load("models/checkpoint.safetensors", network, settings.network())
    return network


@pytest.fixture(scope="module")
def test_images(small: Path) -> tensors.Tensors:
    with chdir(small):
        return tensors.to_tensors(data.load_test("digits"))


def typical(folder: Path) -> doubt.Outlines:
    with chdir(folder):
        return doubt.learned(data.load_train("digits"))


def odd_images() -> torch.Tensor:
    """Images that no dataset has: blank, white, one pixel, noise; (n, 28, 28) uint8."""
    one = torch.zeros(28, 28, dtype=torch.uint8)
    one[27, 3] = 1
    noise = torch.randint(256, (20, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return torch.stack([torch.zeros_like(one), torch.full_like(one, 255), one, *noise])


def expected(network: nn.Module, images: torch.Tensor) -> list[list[float]]:
    with torch.no_grad(), EXACT:
        logits = network(images.flatten(1).float().div_(255))
    return samebits.probabilities(logits).tolist()


def computed(browser: Browser, images: torch.Tensor) -> list[list[float]]:
    """The page's own probabilities of images (n, 28, 28) uint8."""
    return browser.value(
        f"""(() => {{
            const all = bytes("{chain.encoded(images.numpy())}");
            const image = (_, i) => forward(all.subarray(784 * i, 784 * (i + 1))).probabilities;
            return Array.from({{ length: {len(images)} }}, image);
        }})()"""
    )


def open_page(browser: Browser, folder: Path, text: str, width: int = 1280) -> None:
    (folder / "draw.html").write_text(text, encoding="utf-8")
    browser.open(folder / "draw.html", width)


def draw(browser: Browser, strokes: list[list[tuple[float, float]]], touch: bool = False) -> str:
    """Draw with the mouse or a finger; returns what the page says."""
    left, top, width = browser.value("(({ left, top, width }) => [left, top, width])(paper.getBoundingClientRect())")
    for stroke in strokes:
        points = [{"x": left + x * width, "y": top + y * width} for x, y in stroke]
        if touch:
            browser.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=points[:1])
            for point in points[1:]:
                browser.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=[point])
            browser.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        else:
            down = {"button": "left", "clickCount": 1}
            browser.call("Input.dispatchMouseEvent", type="mousePressed", **points[0], **down)
            for point in points[1:]:
                browser.call("Input.dispatchMouseEvent", type="mouseMoved", **point, button="left", buttons=1)
            browser.call("Input.dispatchMouseEvent", type="mouseReleased", **points[-1], **down)
    return said(browser)


def said(browser: Browser) -> str:
    return browser.value("said.textContent")


def shown(browser: Browser) -> list[float]:
    """The probabilities beside the bars."""
    return [float(value) for value in browser.value("[...document.querySelectorAll('data')].map((data) => data.value)")]


def ink(browser: Browser) -> np.ndarray:
    """What is drawn, (560, 560) bool."""
    text = browser.value("btoa(new TextDecoder('latin1').decode(ink))")
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(560, 560) > 0


def press(browser: Browser, key: str) -> None:
    """A key, after `Ctrl+` or not."""
    codes = {"Tab": 9, "Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "z": 90}
    name = key.removeprefix("Ctrl+")
    event = {"key": name, "code": name, "windowsVirtualKeyCode": codes[name], "modifiers": 2 * (name != key)}
    for kind in ("rawKeyDown", *(["char"] if name == "Enter" else []), "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, **event, **({"text": "\r"} if name == "Enter" else {}))


@needs_chromium
def test_its_probabilities_are_those_of_the_predictions_to_the_last_digit(
    browser: Browser, small: Path, test_images: tensors.Tensors
) -> None:
    browser.open(small / "plots/draw.html")
    table = pandas.read_csv(small / "plots/predictions.csv", dtype=str)
    found = computed(browser, test_images.images)
    assert len(found) == 297
    assert [str(row.index(max(row))) for row in found] == table["predicted"].tolist()
    assert [str(max(row)) for row in found] == table["probability"].tolist()


@pytest.mark.slow
@needs_chromium
def test_on_mnist_its_probabilities_and_what_it_says_of_drawings_are_right(browser: Browser, trained: Path) -> None:
    with chdir(trained):
        images = tensors.to_tensors(data.load_test("mnist")).images
    browser.open(trained / "plots/draw.html")
    table = pandas.read_csv(trained / "plots/predictions.csv", dtype=str)
    found = computed(browser, images)
    assert len(found) == 10_000
    assert [str(max(row)) for row in found] == table["probability"].tolist()
    for width, touch in ((1280, False), (390, True)):
        for digit, strokes in ((0, ZERO), (1, ONE), (3, THREE)):
            browser.open(trained / "plots/draw.html", width)
            assert draw(browser, strokes, touch).startswith(f"Most likely {digit} (")


@needs_chromium
@pytest.mark.parametrize("layer", [0, 1])
def test_a_weight_changed_in_its_last_bit_gives_other_probabilities(
    layer: int, browser: Browser, network: nn.Module, test_images: tensors.Tensors, tmp_path: Path
) -> None:
    before = expected(network, test_images.images)
    linear = [part for part in network if isinstance(part, nn.Linear)][layer]
    own = linear.weight.data.clone()
    other = torch.nextafter(own, torch.tensor(torch.inf))
    bits = grid.factor_bits(linear.in_features)
    # Not one of those whose last bit the grid rounds away; of these, one that sees much ink
    changed = grid.on_grid(own, bits).ne(grid.on_grid(other, bits))
    seen = test_images.images.float().mean(0).flatten() if layer == 0 else torch.ones(linear.in_features)
    place = divmod(int((changed * seen).argmax()), linear.in_features)
    linear.weight.data[place] = other[place]
    try:
        open_page(browser, tmp_path, page.filled(network, test_images, TYPICAL, EXACT))
        found = computed(browser, test_images.images)
        assert found == expected(network, test_images.images)
    finally:
        linear.weight.data = own
    assert found != before


@needs_chromium
@pytest.mark.parametrize("hidden_units", [3, 300])
@pytest.mark.parametrize("name", model.MODELS)
def test_images_of_any_kind_get_the_probabilities_of_pytorch(
    name: str, hidden_units: int, browser: Browser, test_images: tensors.Tensors, tmp_path: Path
) -> None:
    network = model.empty(Initial(model=name, hidden_units=hidden_units, seed=0))
    model.initialize(network, torch.Generator().manual_seed(2))
    open_page(browser, tmp_path, page.filled(network, test_images, TYPICAL, EXACT))
    assert computed(browser, odd_images()) == expected(network, odd_images())
    units = min(hidden_units, 100) if len(next(network.parameters())[0]) == model.INPUTS else 0  # that see the pixels
    assert browser.value("document.querySelectorAll('#units canvas').length") == units


@needs_chromium
def test_large_weights_and_several_hidden_layers_get_the_probabilities_of_pytorch(
    browser: Browser, test_images: tensors.Tensors, tmp_path: Path
) -> None:
    network = nn.Sequential(
        nn.Linear(784, 5), nn.Sigmoid(), nn.Linear(5, 6), nn.Sigmoid(), nn.Linear(6, 10, bias=False)
    )
    model.initialize(network, torch.Generator().manual_seed(3))
    network[0].weight.data *= 300  # both ends of the sigmoid
    network[4].weight.data *= 100
    open_page(browser, tmp_path, page.filled(network, test_images, TYPICAL, EXACT))
    found = computed(browser, odd_images())
    assert found == expected(network, odd_images())
    assert min(map(min, found)) < 1e-30


@needs_chromium
def test_what_math_exp_leaves_open_is_settled_with_integers(
    browser: Browser, network: nn.Module, test_images: tensors.Tensors, tmp_path: Path
) -> None:
    text = page.filled(network, test_images, TYPICAL, EXACT)
    assert text.count("const ERROR = 2 ** -44") == 1
    open_page(browser, tmp_path, text.replace("const ERROR = 2 ** -44", "const ERROR = 2 ** -1"))
    images = odd_images()[:4]
    assert computed(browser, images) == expected(network, images)
    rows = [[0.0, 0.0], [1e-30, -3.5], [88.5, -15.25, 3.0], [-3e38, 3e38], [0.1, 100.7, -2.3]]
    rows = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], True, -200.0).double().tolist()
    found = browser.value(f"{json.dumps(rows)}.map((row) => row.map((_, i) => share(row, i)))")
    with localcontext(prec=60):
        for row, values in zip(rows, found, strict=True):
            exponentials = [(Decimal(z) - Decimal(max(row))).exp() for z in row]
            true = [float(value / sum(exponentials)) for value in exponentials]
            # Less than 2**-150 is 0 as a float32
            assert [v for v, t in zip(values, true, strict=True) if t > 2**-150] == [t for t in true if t > 2**-150]


@needs_chromium
@pytest.mark.parametrize(("width", "touch"), [(1280, False), (390, True)])
@pytest.mark.parametrize("strokes", [THREE, ZERO, ONE], ids=["3", "0", "1"])
def test_a_drawing_is_seen_as_make_predict_sees_it(
    width: int, touch: bool, strokes: list, browser: Browser, small: Path, network: nn.Module
) -> None:
    browser.open(small / "plots/draw.html", width)
    sentence = draw(browser, strokes, touch)
    drawn = ink(browser)
    assert 5_000 < drawn.sum() < 200_000
    pixels = torch.tensor(list(browser.value("centered(ink)").values()), dtype=torch.uint8)
    seen = photo.centered(drawn)
    assert np.abs(pixels.numpy().reshape(28, 28) - seen * 255.0).max() <= 1
    (probabilities,) = expected(network, pixels.reshape(1, 28, 28))
    assert shown(browser) == probabilities
    best = max(probabilities)
    assert sentence.startswith(f"Most likely {probabilities.index(best)} ({100 * best:.1f}\u00a0%)")
    assert browser.value("document.documentElement.scrollWidth") == width
    assert browser.value("scrollY") == 0


@needs_chromium
@pytest.mark.parametrize("seed", range(5))
def test_ink_is_averaged_as_pillow_does(seed: int, browser: Browser, small: Path) -> None:
    random = np.random.default_rng(seed)
    image = np.where(random.random((random.integers(20, 90), random.integers(20, 400))) < 0.5, 255, 0).astype(np.uint8)
    browser.open(small / "plots/draw.html")
    for size in range(1, 21):
        found = browser.value(f'[...narrowed(bytes("{chain.encoded(image)}"), {image.shape[1]}, {size})]')
        shrunk = photo.Image.fromarray(image).resize((size, len(image)), photo.Image.Resampling.BOX)
        assert found == np.asarray(shrunk).T.flatten().tolist()


@needs_chromium
@pytest.mark.parametrize(
    ("strokes", "doubt"),
    [
        (ELEVEN, "50.0\u00a0% of the ink lies apart from the rest: draw one digit only"),
        ([[(0.5, 0.3), (0.5, 0.99)]], "the ink touches the edge: is it cut off?"),
        ([[(0.2, 0.5), (0.8, 0.5)]], "it is wider than digits are"),
    ],
)
def test_what_is_doubtful_is_said(strokes: list, doubt: str, browser: Browser, small: Path) -> None:
    browser.open(small / "plots/draw.html")
    assert f", but {doubt}" in draw(browser, strokes)
    browser.value("document.getElementById('clear').click()")
    assert doubt not in draw(browser, [[(0.45, 0.2), (0.55, 0.8)]])


@needs_chromium
def test_nothing_is_said_of_an_empty_paper_or_a_dot(browser: Browser, small: Path) -> None:
    browser.open(small / "plots/draw.html")
    assert said(browser) == "Nothing is drawn yet."
    assert shown(browser) == [0] * 10
    assert draw(browser, [[(0.5, 0.5), (0.51, 0.5)]]) == "Too small to tell: draw one digit that fills the square."
    assert shown(browser) == [0] * 10


@needs_chromium
def test_bars_move_while_one_draws(browser: Browser, small: Path) -> None:
    browser.open(small / "plots/draw.html")
    left, top, width = browser.value("(({ left, top, width }) => [left, top, width])(paper.getBoundingClientRect())")
    point = {"x": left + 0.5 * width, "y": top + 0.2 * width}
    browser.call("Input.dispatchMouseEvent", type="mousePressed", **point, button="left", clickCount=1)
    seen = []
    for step in (0.5, 0.8):
        point["y"] = top + step * width
        browser.call("Input.dispatchMouseEvent", type="mouseMoved", **point, button="left", buttons=1)
        browser.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))")
        seen.append(shown(browser))
    browser.call("Input.dispatchMouseEvent", type="mouseReleased", **point, button="left", clickCount=1)
    assert seen[0] != seen[1]
    assert [sum(values) for values in seen] == pytest.approx([1, 1])


@needs_chromium
def test_the_keyboard_loads_test_images_and_clears(
    browser: Browser, small: Path, network: nn.Module, test_images: tensors.Tensors
) -> None:
    browser.open(small / "plots/draw.html")
    for _ in range(4):  # the paper, to clear, to undo
        press(browser, "Tab")
    for label in range(3):
        press(browser, "Enter")
        index = test_images.labels.tolist().index(label)
        (probabilities,) = expected(network, test_images.images[index : index + 1])
        best = probabilities.index(max(probabilities))
        says = f"the network says {best} ({100 * max(probabilities):.1f}\u00a0%)"
        verdict = "right" if best == label else "wrong"
        assert said(browser) == f"Test image {index}, a {label}: {says} and is {verdict}."
        assert shown(browser) == probabilities
        row = browser.value("document.getElementById('row').textContent")
        assert row in (small / "plots/predictions.csv").read_text().splitlines()
    browser.value("document.getElementById('clear').focus()")
    press(browser, "Enter")
    assert said(browser) == "Nothing is drawn yet."
    assert browser.value("said.role") == "status"


@needs_chromium
def test_the_keyboard_draws_and_takes_back(browser: Browser, small: Path) -> None:
    browser.open(small / "plots/draw.html")
    press(browser, "Tab")
    assert browser.value("document.activeElement.id") == "paper"
    for key in ("ArrowUp", "ArrowUp", " ", "ArrowDown", "ArrowDown", "ArrowRight", " ", "ArrowLeft"):
        press(browser, key)
    rows, columns = np.nonzero(ink(browser))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (240 - 26, 280 + 26, 280 - 26, 300 + 26)
    assert said(browser).startswith("Too small to tell") or said(browser).startswith("Most likely")
    press(browser, "Ctrl+z")
    assert said(browser) == "Nothing is drawn yet."


@needs_chromium
def test_undo_takes_back_a_stroke_then_another_and_a_clearing(browser: Browser, small: Path) -> None:
    browser.open(small / "plots/draw.html")
    undo = "document.getElementById('undo').click()"
    draw(browser, ELEVEN[:1])
    one = ink(browser)
    draw(browser, ELEVEN[1:])
    two = ink(browser)
    browser.value("document.getElementById('clear').click()")
    for expected_ink in (two, one, np.zeros_like(one), np.zeros_like(one)):
        browser.value(undo)
        assert np.array_equal(ink(browser), expected_ink)
    draw(browser, ELEVEN[:1])
    browser.value("document.getElementById('next').click()")
    press(browser, "Ctrl+z")
    assert np.array_equal(ink(browser), one)
    assert said(browser).startswith("Most likely")


@needs_chromium
@pytest.mark.parametrize(("width", "height"), [(320, 480), (390, 844), (568, 320), (640, 360), (640, 400), (1280, 800)])
def test_paper_answer_and_room_to_scroll_are_in_the_window_and_nothing_moves(
    width: int, height: int, browser: Browser, small: Path
) -> None:
    browser.open(small / "plots/draw.html", width)
    browser.call(
        "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 700
    )
    places = """['paper', 'clear', 'undo', 'next', 'said', 'classes'].map((id) => {
        const { left, top, right, bottom } = document.getElementById(id).getBoundingClientRect();
        return [left, top, right, bottom].map(Math.round); })"""
    before = browser.value(places)
    assert all(bottom <= height and right <= width for _, _, right, bottom in before[:5])
    assert before[0][2] <= width - 48
    assert before[0][2] - before[0][0] >= 200
    for strokes in (ELEVEN, [[(0.5, 0.3), (0.5, 0.99)]], [[(0.5, 0.5), (0.51, 0.5)]], THREE):
        draw(browser, strokes)
        assert browser.value(places) == before
        browser.value("document.getElementById('next').click()")
        assert browser.value(places) == before
        browser.value("document.getElementById('clear').click()")
    assert browser.value("document.documentElement.scrollWidth") == width


@needs_chromium
@pytest.mark.parametrize("dark", [False, True])
def test_the_paper_s_border_is_seen(dark: bool, browser: Browser, small: Path) -> None:
    browser.open(small / "plots/draw.html", dark=dark)
    colors = browser.value("[getComputedStyle(paper).borderColor, getComputedStyle(document.body).backgroundColor]")

    def luminance(color: str) -> float:  # of https://www.w3.org/TR/WCAG21/#dfn-relative-luminance
        shares = [int(value) / 255 for value in color.removeprefix("rgb(").removesuffix(")").split(",")]
        linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted(map(luminance, colors))
    assert (high + 0.05) / (low + 0.05) >= 3


@needs_chromium
def test_bars_stay_in_forced_colours_and_in_print(browser: Browser, small: Path) -> None:
    browser.open(small / "plots/draw.html")
    bar = "(({ backgroundColor, printColorAdjust }) => [backgroundColor, printColorAdjust])"
    bar += "(getComputedStyle(document.querySelector('td i')))"
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "forced-colors", "value": "active"}])
    color, adjust = browser.value(bar)
    assert color == browser.value("getComputedStyle(document.body).color")
    assert adjust == "exact"
    assert color != browser.value("getComputedStyle(document.body).backgroundColor")


@needs_chromium
def test_a_stroke_that_starts_outside_selects_no_text(browser: Browser, small: Path) -> None:
    browser.open(small / "plots/draw.html")
    left, top = browser.value("(({ left, top }) => [left, top])(paper.getBoundingClientRect())")
    down = {"button": "left", "clickCount": 1}
    browser.call("Input.dispatchMouseEvent", type="mousePressed", x=left - 40, y=5, **down)
    for step in (20, 200, 500):
        browser.call(
            "Input.dispatchMouseEvent", type="mouseMoved", x=left + step, y=top + step, button="left", buttons=1
        )
    browser.call("Input.dispatchMouseEvent", type="mouseReleased", x=left + 500, y=top + 500, **down)
    assert browser.value("getSelection().toString()") == ""


@needs_chromium
def test_without_javascript_it_says_so(browser: Browser, small: Path) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(small / "plots/draw.html")
        text = browser.value("document.body.innerText")
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert "This page computes the network with JavaScript, which is switched off" in text
    assert "Clear" not in text


@needs_chromium
def test_it_doubts_what_doubt_py_doubts(browser: Browser, small: Path, test_images: tensors.Tensors) -> None:
    browser.open(small / "plots/draw.html")
    lying = test_images.images.rot90(1, (1, 2))
    images = torch.cat([odd_images(), test_images.images, lying]).contiguous()
    found = browser.value(
        f"""(() => {{
            const all = bytes("{chain.encoded(images.numpy())}");
            const image = (_, i) => unlike(all.subarray(784 * i, 784 * (i + 1)));
            return Array.from({{ length: {len(images)} }}, image);
        }})()"""
    )
    assert found == doubt.unlike(images.numpy(), typical(small)).tolist()
    assert 0 < sum(found) < len(found)
    alarms = int(doubt.unlike(test_images.images.numpy(), typical(small)).sum())
    assert f"a false alarm for {alarms} of the 297 test images" in browser.value("document.body.innerText")


@pytest.mark.slow
@needs_chromium
def test_of_letters_and_shapes_most_get_a_doubt(browser: Browser, trained: Path) -> None:
    browser.open(trained / "plots/draw.html")

    def passed(shapes: dict[str, list]) -> list[str]:
        sentences = {}
        for name, strokes in shapes.items():
            sentences[name] = draw(browser, strokes)
            browser.value("document.getElementById('clear').click()")
        return [name for name, sentence in sentences.items() if ", but " not in sentence]

    assert passed(CHOSEN) == ["B"]
    assert passed(OTHERS) == ["at", "man", "crossed circle"]
    assert passed(AFTERWARDS) == ["f", "spoon"]
    assert passed({"0": ZERO, "1": ONE, "3": THREE}) == ["0", "1", "3"]
    total = len(CHOSEN | OTHERS | AFTERWARDS)
    assert f"{total - 6} of {total} letters and shapes got a doubt" in browser.value("document.body.innerText")


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.output = nn.Linear(784, 784), nn.Linear(784, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.output(images + self.hidden(images))


class Changing(nn.Module):
    """For many images, and not for a few, it computes something else."""

    def __init__(self) -> None:
        super().__init__()
        self.output = nn.Linear(784, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.output(images) if len(images) < 30 else functional.relu(self.output(images))


class Functional(nn.Module):
    """A chain written in functions and methods, with in-place ones."""

    def __init__(self) -> None:
        super().__init__()
        self.filters, self.output = nn.Conv2d(1, 3, 5, stride=2), nn.Linear(3 * 6 * 6, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.filters(images.view(-1, 1, 28, 28)).relu_()
        x = functional.dropout(functional.avg_pool2d(x, kernel_size=2), training=self.training)
        return torch.tanh(self.output(x.reshape(x.size(0), -1)))


def chained(*layers: nn.Module) -> Callable[[], nn.Module]:
    """A network of these layers on images with a channel, and a linear one that fits at the end."""

    def make() -> nn.Module:
        inner = nn.Sequential(nn.Unflatten(1, (1, 28, 28)), *layers, nn.Flatten()).eval()
        return nn.Sequential(inner, nn.Linear(inner(torch.zeros(1, 784)).shape[1], 10))

    return make


CHAINS = {
    "convolutional": chained(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2)
    ),
    "all options": chained(
        nn.Conv2d(1, 6, (5, 3), stride=(2, 1), padding=(1, 4), dilation=(1, 2), bias=False),
        nn.Tanh(),
        nn.Conv2d(6, 9, (2, 3), groups=3, padding="same", dilation=2),
        nn.Sigmoid(),
    ),
    "overlapping maximum": chained(nn.Conv2d(1, 3, 4), nn.MaxPool2d((3, 5), (2, 1), (1, 2), dilation=(2, 1))),
    "maximum over the edge": chained(nn.MaxPool2d(3, ceil_mode=True), nn.Dropout2d(), nn.Tanh()),
    "average": chained(nn.AvgPool2d(3, 2, 1), nn.Conv2d(1, 2, 3), nn.AvgPool2d(2, count_include_pad=False, padding=1)),
    "adaptive average": chained(nn.Conv2d(1, 5, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d((4, 5)), nn.Dropout()),
    "divided by another number": chained(nn.AvgPool2d((2, 3), divisor_override=5), nn.ReLU()),
    "row by row": lambda: nn.Sequential(
        nn.Unflatten(1, (28, 28)), nn.Linear(28, 3), nn.ReLU(), nn.Flatten(), nn.Linear(84, 10), nn.Sigmoid()
    ),
    "functions": Functional,
}


@needs_chromium
@pytest.mark.parametrize("name", CHAINS)
def test_any_chain_of_its_layers_gets_the_probabilities_of_pytorch(
    name: str, browser: Browser, test_images: tensors.Tensors, tmp_path: Path
) -> None:
    network = CHAINS[name]().eval()
    samebits.initialize(network, torch.Generator().manual_seed(4))
    few = tensors.Tensors(test_images.images[:40], test_images.labels[:40])
    images = torch.cat([odd_images(), few.images])
    open_page(browser, tmp_path, page.filled(network, few, TYPICAL, EXACT))
    assert computed(browser, images) == expected(network, images)


@needs_chromium
def test_a_convolutional_network_follows_the_pen(
    browser: Browser, test_images: tensors.Tensors, tmp_path: Path
) -> None:
    text = page.filled(CHAINS["convolutional"](), test_images, TYPICAL, EXACT)
    assert len(text.encode()) < 200_000
    open_page(browser, tmp_path, text)
    draw(browser, THREE)
    assert browser.value("((start) => { look(); look(); return performance.now() - start; })(performance.now())") < 200


@needs_chromium
def test_tanh_is_settled_with_integers_where_the_library_leaves_it_open(browser: Browser, small: Path) -> None:
    browser.open(small / "plots/draw.html")
    values = [0.0, 1e-38, -1e-45, 3e-4, -0.7, 1.25, 9.5, -200.0]
    x = torch.tensor(values)
    found = browser.value(f"{json.dumps(x.double().tolist())}.map((x) => Math.fround(tangent(x)))")
    assert found == samebits_tanh(x).tolist()


def samebits_tanh(x: torch.Tensor) -> torch.Tensor:
    with EXACT:
        return x.tanh()


REFUSED = {
    "a part (batch_norm) that it does not know": chained(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)),
    "a part (add) that does not take": Residual,
    "average pooling with ceil_mode": chained(nn.AvgPool2d(3, ceil_mode=True)),
    "a part that does not always compute the same": Changing,
    "results of shape (11,) for an image": lambda: nn.Linear(784, 11),
}


@needs_chromium
@pytest.mark.parametrize("reason", REFUSED)
def test_of_a_network_that_it_can_not_compute_it_says_why(
    reason: str, browser: Browser, test_images: tensors.Tensors, tmp_path: Path
) -> None:
    few = tensors.Tensors(test_images.images[:50], test_images.labels[:50])
    open_page(browser, tmp_path, page.filled(REFUSED[reason](), few, TYPICAL, EXACT))
    assert "There is nothing to draw on here" in browser.value("document.body.innerText")
    assert f"and the trained network has {reason}" in browser.value("document.body.innerText")
    assert browser.value("paper.checkVisibility()") is False


def test_natively_trained_networks_are_drawn_on_too(
    small: Path, network: nn.Module, test_images: tensors.Tensors, run_stages: Callable[..., None]
) -> None:
    text = page.filled(network, test_images, typical(small), samebits.native())
    assert text == (small / "plots/draw.html").read_text(encoding="utf-8")


def test_it_needs_no_other_file_and_is_small(test_images: tensors.Tensors) -> None:
    text = page.filled(model.empty(Initial(model="sequential", hidden_units=20, seed=0)), test_images, TYPICAL, EXACT)
    assert len(text.encode()) < 600_000
    assert not any(word in text for word in ("http:", "https:", "src=", "import(", "fetch("))
