"""The page on which one draws a digit, as Chromium shows it without a network."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import chdir, nullcontext
from decimal import Decimal, localcontext
from functools import partial
from pathlib import Path

from drawing import chain, doubt, page
from stages.lib import data, model, tensors
from tests.browser import Browser, contrast
from tests.shapes import SHAPES, Stroke, line
from tools import photo, predict

import numpy as np
import pandas
import pytest
import samebits
import torch
from torch import nn
from torch.nn import functional

EXACT = samebits.exact()
TYPICAL = doubt.Outlines(np.zeros((1, 196), np.uint8), np.zeros(1, np.int64))
THREE = line("30,20 45,15 60,20 65,30 55,45 42,48 56,50 68,60 65,75 50,85 30,80")
ZERO = line("50,15 35,25 30,50 35,75 50,85 65,75 70,50 65,25 50,15")
ONE = line("50,15 48,85")
ELEVEN = line("35,20 35,80 / 65,20 65,80")
DOT = line("50,50 51,50")
TO_THE_EDGE = line("50,30 50,99")
PAPER = "(({ left, top, width }) => [left, top, width])(paper.getBoundingClientRect())"


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


@pytest.fixture
def sheet(browser: Browser, small: Path) -> Browser:
    browser.open(small / "plots/draw.html")
    return browser


@pytest.fixture(scope="module")
def test_images(small):
    with chdir(small):
        return tensors.to_tensors(data.load_test("digits"))


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


def computed(browser: Browser, images: torch.Tensor, what: str = "forward(pixels).probabilities") -> list:
    """What the page computes of images (n, 28, 28) uint8: its own probabilities, or something else."""
    each = f"Array.from({{ length: {len(images)} }}, (_, i) => all.subarray(784 * i, 784 * (i + 1)))"
    return browser.value(f"((all) => {each}.map((pixels) => {what}))(bytes('{chain.encoded(images.numpy())}'))")


def open_page(browser: Browser, folder: Path, text: str) -> None:
    (folder / "draw.html").write_text(text, encoding="utf-8")
    browser.open(folder / "draw.html")


def point(browser: Browser, kind: str, x: float, y: float, by_touch: bool = False) -> None:
    """`Start`, `Move` or `End` of a stroke with the mouse or a finger, at a point of the window."""
    if by_touch:
        points = [] if kind == "End" else [{"x": x, "y": y}]
        browser.call("Input.dispatchTouchEvent", type=f"touch{kind}", touchPoints=points)
        return
    name = {"Start": "Pressed", "Move": "Moved", "End": "Released"}[kind]
    options = {"button": "left", "buttons": int(kind == "Move"), "clickCount": int(kind != "Move")}
    browser.call("Input.dispatchMouseEvent", type=f"mouse{name}", x=x, y=y, **options)


def draw(browser: Browser, strokes: list[Stroke], by_touch: bool = False) -> str:
    """Draw with the mouse or a finger; returns what the page says."""
    left, top, width = browser.value(PAPER)
    for stroke in strokes:
        points = [(left + x * width, top + y * width) for x, y in stroke]
        for kind, place in zip(["Start", *["Move"] * (len(points) - 1), "End"], [*points, points[-1]], strict=True):
            point(browser, kind, *place, by_touch)
    return said(browser)


def click(browser: Browser, button: str) -> None:
    browser.value(f"document.getElementById('{button}').click()")


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
    for kind in ("keyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, text="\r" * (name == "Enter"), **event)


def assert_as_predicted(browser: Browser, folder: Path, images: torch.Tensor) -> None:
    """What the page finds of the first test images is, to the last digit, what predictions.csv says of them."""
    table = pandas.read_csv(folder / "plots/predictions.csv", dtype=str)[["predicted", "probability"]]
    found = [[str(row.index(max(row))), str(max(row))] for row in computed(browser, images)]
    assert found == table.head(len(images)).to_numpy().tolist()


@pytest.mark.slow
def test_on_mnist_its_probabilities_and_what_it_says_of_drawings_are_right(browser, trained):
    with chdir(trained):
        images = tensors.to_tensors(data.load_test("mnist")).images
    browser.open(trained / "plots/draw.html")
    assert_as_predicted(browser, trained, images)
    for width, by_touch in ((1280, False), (390, True)):
        for digit, strokes in ((0, ZERO), (1, ONE), (3, THREE)):
            browser.open(trained / "plots/draw.html", width)
            assert draw(browser, strokes, by_touch).startswith(f"Most likely {digit} (")


def test_what_math_exp_and_tanh_leave_open_is_settled_with_integers(browser, small, test_images, tmp_path):
    text = (small / "plots/draw.html").read_text(encoding="utf-8")
    assert text.count("const ERROR = 2 ** -44") == 1
    open_page(browser, tmp_path, text.replace("const ERROR = 2 ** -44", "const ERROR = 2 ** -1"))
    assert_as_predicted(browser, small, test_images.images[:20])
    logits = [[0.0, 0.0, -200.0], [1e-30, -3.5, 0.0], [88.5, -15.25, 3.0], [-3e38, 3e38, 0.0], [0.1, 100.7, -2.3]]
    for row in torch.tensor(logits).double().tolist():
        with localcontext(prec=60):
            exponentials = [(Decimal(z) - Decimal(max(row))).exp() for z in row]
            true = [float(value / sum(exponentials)) for value in exponentials]
        # To the last bit, but for what is 0 as a float32
        found = browser.value(f"{json.dumps(row)}.map((_, i, row) => share(row, i))")
        assert found == pytest.approx(true, rel=0, abs=2**-200)
    x = torch.tensor([0.0, 1e-38, -1e-45, 3e-4, -0.7, 1.25, 9.5, -200.0])
    with EXACT:
        tanh = x.tanh().tolist()
    assert browser.value(f"{json.dumps(x.double().tolist())}.map((x) => Math.fround(tangent(x)))") == tanh


@pytest.mark.parametrize(("width", "by_touch"), [(1280, False), (390, True)])
@pytest.mark.parametrize("strokes", [THREE, ZERO, ONE], ids=["3", "0", "1"])
def test_a_drawing_is_seen_as_make_predict_sees_it(width, by_touch, strokes, browser, small):
    browser.open(small / "plots/draw.html", width)
    sentence = draw(browser, strokes, by_touch)
    drawn = ink(browser)
    assert 5_000 < drawn.sum() < 200_000
    pixels = np.array(browser.value("[...centered(ink)]"), np.float32).reshape(28, 28)
    assert np.abs(pixels - photo.centered(drawn) * 255).max() <= 1
    with chdir(small):
        probabilities = predict.probabilities(pixels / 255).tolist()
    assert shown(browser) == probabilities
    best = max(probabilities)
    assert sentence.startswith(f"Most likely {probabilities.index(best)} ({100 * best:.1f}\u00a0%)")
    assert browser.value("scrollY") == 0


@pytest.mark.parametrize("seed", range(5))
def test_ink_is_averaged_as_pillow_does(seed, sheet):
    random = np.random.default_rng(seed)
    height, width = random.integers(20, 90), random.integers(20, 400)
    image = np.where(random.random((height, width)) < 0.5, 255, 0).astype(np.uint8)
    for size in range(1, 21):
        found = sheet.value(f'[...narrowed(bytes("{chain.encoded(image)}"), {width}, {size})]')
        shrunk = photo.Image.fromarray(image).resize((size, height), photo.Image.Resampling.BOX)
        assert found == np.asarray(shrunk).T.flatten().tolist()


@pytest.mark.parametrize(
    ("strokes", "says"),
    [
        ([], "Nothing is drawn yet."),
        (DOT, "Too small to tell: draw one digit that fills the square."),
        (ELEVEN, ", but 50.0\u00a0% of the ink lies apart from the rest: draw one digit only"),
        (TO_THE_EDGE, ", but the ink touches the edge: is it cut off?"),
        (line("20,50 80,50"), ", but it is wider than digits are"),
    ],
)
def test_what_is_doubtful_is_said_and_nothing_of_nothing(strokes, says, sheet):
    assert draw(sheet, strokes).endswith(says)
    assert (shown(sheet) == [0] * 10) == (", but" not in says)
    click(sheet, "clear")
    assert says not in draw(sheet, line("45,20 55,80"))


def test_bars_move_while_one_draws(sheet):
    left, top, width = sheet.value(PAPER)
    places = [(left + width / 2, top + depth * width) for depth in (0.2, 0.5, 0.8)]
    point(sheet, "Start", *places[0])
    seen = []
    for place in places[1:]:
        point(sheet, "Move", *place)
        sheet.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))")
        seen.append(shown(sheet))
    point(sheet, "End", *places[2])
    assert seen[0] != seen[1]
    assert [sum(values) for values in seen] == pytest.approx([1, 1])


def test_the_keyboard_loads_test_images_and_clears(sheet, small):
    rows = (small / "plots/predictions.csv").read_text().splitlines()
    for _ in range(4):  # the paper, to clear, to undo
        press(sheet, "Tab")
    for label in ("0", "1", "2"):
        press(sheet, "Enter")
        row = next(row for row in rows if row.split(",")[1] == label)
        index, _, predicted, probability = row.split(",")
        says = f"the network says {predicted} ({100 * float(probability):.1f}\u00a0%)"
        verdict = "right" if predicted == label else "wrong"
        assert said(sheet) == f"Test image {index}, a {label}: {says} and is {verdict}."
        assert shown(sheet)[int(predicted)] == float(probability)
        assert sheet.value("element('row').textContent") == row
    sheet.value("element('clear').focus()")
    press(sheet, "Enter")
    assert said(sheet) == "Nothing is drawn yet."
    assert sheet.value("said.role") == "status"


def test_the_keyboard_draws_and_takes_back(sheet):
    press(sheet, "Tab")
    for key in ("ArrowUp", "ArrowUp", " ", "ArrowDown", "ArrowDown", "ArrowRight", " ", "ArrowLeft"):
        press(sheet, key)
    rows, columns = np.nonzero(ink(sheet))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (240 - 26, 280 + 26, 280 - 26, 300 + 26)
    assert said(sheet).startswith("Too small to tell")
    press(sheet, "Ctrl+z")
    assert said(sheet) == "Nothing is drawn yet."


def test_undo_takes_back_a_stroke_then_another_and_a_clearing(sheet):
    drawn = [ink(sheet)]
    for stroke in ELEVEN:
        draw(sheet, [stroke])
        drawn.append(ink(sheet))
    click(sheet, "clear")
    for before in (drawn[2], drawn[1], drawn[0], drawn[0]):
        click(sheet, "undo")
        assert np.array_equal(ink(sheet), before)


def test_a_test_image_gives_way_to_a_drawing_and_to_what_was_drawn_before_it(sheet):
    click(sheet, "next")
    first = said(sheet)
    draw(sheet, ONE)
    drawn, sentence = ink(sheet), said(sheet)
    click(sheet, "next")
    assert said(sheet) == first
    click(sheet, "next")
    press(sheet, "Ctrl+z")
    assert np.array_equal(ink(sheet), drawn)
    assert said(sheet) == sentence
    draw(sheet, DOT)
    assert np.all(ink(sheet) >= drawn)


@pytest.mark.parametrize(("width", "height"), [(320, 480), (390, 844), (568, 320), (640, 360), (640, 400), (1280, 800)])
def test_paper_answer_and_room_to_scroll_are_in_the_window_and_nothing_moves(width, height, browser, small):
    browser.open(small / "plots/draw.html", width, height=height)
    elements = "['paper', 'clear', 'undo', 'next', 'said', 'classes'].map(element)"
    places = f"{elements}.map((element) => element.getBoundingClientRect().toJSON())"
    before = browser.value(places)
    assert all(place["bottom"] <= height and place["right"] <= width for place in before[:5])
    assert before[0]["right"] <= width - 48
    assert before[0]["width"] >= 200
    for strokes in (ELEVEN, TO_THE_EDGE, DOT, THREE):
        draw(browser, strokes)
        assert browser.value(places) == before
        click(browser, "next")
        assert browser.value(places) == before
        click(browser, "clear")
    assert browser.value("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("dark", [False, True])
def test_the_paper_s_border_is_seen_and_bars_stay_in_forced_colours_and_in_print(dark, browser, small):
    def style(selector: str, name: str) -> str:
        return browser.value(f"getComputedStyle(document.querySelector('{selector}')).{name}")

    browser.open(small / "plots/draw.html", dark=dark)
    assert contrast(style("#paper", "borderColor"), style("body", "backgroundColor")) >= 3
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "forced-colors", "value": "active"}])
    assert style("td i", "backgroundColor") == style("body", "color") != style("body", "backgroundColor")
    assert style("td i", "printColorAdjust") == "exact"


def test_a_stroke_that_starts_outside_selects_no_text(sheet):
    left, top, _ = sheet.value(PAPER)
    point(sheet, "Start", left - 40, 5)
    point(sheet, "Move", left + 500, top + 500)
    point(sheet, "End", left + 500, top + 500)
    assert sheet.value("getSelection().toString()") == ""


def test_without_javascript_it_says_so(browser, small):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(small / "plots/draw.html")
    text = browser.value("document.body.innerText")
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert "This page computes the network with JavaScript, which is switched off" in text
    assert "Clear" not in text


def test_it_doubts_what_doubt_py_doubts(sheet, small, test_images):
    with chdir(small):
        typical = doubt.learned(data.load_train("digits"))
    lying = test_images.images.rot90(1, (1, 2))
    images = torch.cat([test_images.images, lying, odd_images()])
    found = computed(sheet, images, "unlike(pixels)")
    assert found == doubt.unlike(images.numpy(), typical).tolist()
    some = images[-50:]
    assert computed(sheet, some, "[...outline(pixels)]") == doubt.outlines(some.numpy()).tolist()
    assert 0 < sum(found) < len(found)
    alarms = sum(found[: len(lying)])
    assert f"a false alarm for {alarms} of the 297 test images" in sheet.value("document.body.innerText")


@pytest.mark.slow
def test_of_letters_and_shapes_most_get_a_doubt(browser, trained):
    browser.open(trained / "plots/draw.html")
    browser.value(f"""
        var [left0, top0, side] = {PAPER};
        var at = (start, part) => (Math.fround(start + part * side) - start) * SIDE / side;  // as precise as a mouse
        var sketch = (points) => {{ pen = null; points.forEach(([x, y]) => stroke([at(left0, x), at(top0, y)])); }}
    """)

    def doubted(strokes: list[Stroke]) -> bool:
        """Whether it says so of strokes drawn without a mouse, and without its wait for the screen."""
        return ", but " in browser.value(f"ink.fill(0); {json.dumps(strokes)}.forEach(sketch); look()")

    passed = ["B", "at", "man", "crossed circle", "f", "spoon"]
    assert [name for name, strokes in SHAPES.items() if not doubted(strokes)] == passed
    assert not any(map(doubted, (ZERO, ONE, THREE)))
    claim = f"{len(SHAPES) - len(passed)} of {len(SHAPES)} letters and shapes got a doubt"
    assert claim in browser.value("document.body.innerText")


def computing(compute: Callable[..., torch.Tensor], terms: int = 784) -> nn.Module:
    """What somebody computes of the weight of a linear layer and of images."""
    layer = nn.Linear(terms, 10)
    layer.forward = partial(compute, layer.weight)
    return layer


def functions(weight: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """A chain written in functions and methods, with an in-place one."""
    x = functional.avg_pool2d(images.view(-1, 1, 28, 28), kernel_size=2).relu_()
    x = functional.linear(functional.dropout(x, training=False).reshape(x.size(0), -1), weight)
    return torch.tanh(x)


def chained(*layers: nn.Module) -> nn.Module:
    """A network of these layers on images with a channel, and a linear one that fits at the end."""
    inner = nn.Sequential(nn.Unflatten(1, (1, 28, 28)), *layers, nn.Flatten()).eval()
    return nn.Sequential(inner, nn.Linear(inner(torch.zeros(1, 784)).shape[1], 10))


CHAINS = {
    **{f"{name}, {units} units": partial(make, units) for name, make in model.MODELS.items() for units in (3, 300)},
    "convolutions": lambda: chained(
        nn.Conv2d(1, 6, (5, 3), stride=(2, 1), padding=(1, 4), dilation=(1, 2), bias=False),
        nn.Tanh(),
        nn.Conv2d(6, 9, (2, 3), groups=3, padding="same", dilation=2),
        nn.Sigmoid(),
    ),
    "maxima": lambda: chained(nn.MaxPool2d(2, ceil_mode=True), nn.MaxPool2d((3, 5), (2, 1), (1, 2), dilation=(2, 1))),
    "means": lambda: chained(nn.AvgPool2d(3, 2, 1), nn.Conv2d(1, 2, 3), nn.AvgPool2d(2, 2, 1, count_include_pad=False)),
    "sums": lambda: chained(nn.AvgPool2d((2, 3), divisor_override=5), nn.Dropout2d(), nn.AdaptiveAvgPool2d((4, 5))),
    "row by row": lambda: nn.Sequential(nn.Unflatten(1, (28, 28)), nn.Linear(28, 3), nn.Flatten(), nn.Linear(84, 10)),
    "functions": lambda: computing(functions, terms=14 * 14),
    "large weights": lambda: nn.Sequential(nn.Linear(784, 5), nn.Sigmoid(), nn.Linear(5, 10, bias=False)),
}


@pytest.mark.parametrize("name", CHAINS)
def test_any_chain_of_its_layers_gets_the_probabilities_of_pytorch(name, browser, test_images, tmp_path):
    network = CHAINS[name]().eval()
    model.initialize(network, torch.Generator().manual_seed(4))
    for weight in network.parameters() if name == "large weights" else ():
        weight.data *= 300  # both ends of the sigmoid
    images = torch.cat([odd_images(), test_images.images[:30]])
    open_page(browser, tmp_path, page.filled(network, test_images, TYPICAL, EXACT))
    found = computed(browser, images)
    assert found == expected(network, images)
    assert (min(map(min, found)) < 1e-30) == (name == "large weights")
    first = next(network.parameters())
    units = min(len(first), 100) if first.shape[1:] == (model.INPUTS,) else 0  # that see the pixels
    assert browser.value("document.querySelectorAll('#units canvas').length") == units


REFUSED = {
    "a part (batch_norm) that it does not know": lambda: chained(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)),
    "a part (add) that does not take": lambda: computing(lambda w, x: functional.linear(x + x.relu(), w)),
    "average pooling with ceil_mode": lambda: chained(nn.AvgPool2d(3, ceil_mode=True)),
    "a part that does not always": lambda: computing(lambda w, x: functional.linear(x if len(x) < 9 else -x, w)),
    "results of shape (11,) for an image": lambda: nn.Linear(784, 11),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_of_a_network_that_it_can_not_compute_it_says_why(reason, browser, test_images, tmp_path):
    open_page(browser, tmp_path, page.filled(REFUSED[reason](), test_images, TYPICAL, EXACT))
    text = browser.value("document.body.innerText")
    assert "There is nothing to draw on here" in text
    assert f"and the trained network has {reason}" in text
    assert browser.value("paper.checkVisibility()") is False


@pytest.mark.parametrize(("name", "size"), [("row by row", 100_000), ("convolutions", 300_000)])
def test_it_needs_no_other_file_and_is_small_and_the_same_for_native_training(name, size, test_images):
    network = CHAINS[name]()
    text = page.filled(network, test_images, TYPICAL, EXACT)
    assert page.filled(network, test_images, TYPICAL, nullcontext()) == text
    assert len(text.encode()) < size
    assert not any(word in text for word in ("http:", "https:", "src=", "import(", "fetch("))
