"""The page on which one draws a digit, as Chromium shows it without a network."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import chdir, nullcontext
from copy import deepcopy
from decimal import Decimal, localcontext
from pathlib import Path

from drawing import chain, doubt, page
from stagecraft import checkpoint
from stages.lib import data, model, params, tensors
from stages.lib.params import Initial
from tests.browser import Browser, contrast
from tests.shapes import AFTERWARDS, CHOSEN, OTHERS, Stroke, line
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
    """The page of that network, just opened."""
    browser.open(small / "plots/draw.html")
    return browser


@pytest.fixture(scope="module")
def network(small: Path) -> nn.Module:
    """The network that the stages trained on the digits."""
    with chdir(small):
        settings = params.load()
        network = model.empty(settings)
        checkpoint.load("models/checkpoint.safetensors", network, settings.network())
    return network


@pytest.fixture(scope="module")
def test_images(small):
    with chdir(small):
        return tensors.to_tensors(data.load_test("digits"))


@pytest.fixture(scope="module")
def few(test_images: tensors.Tensors) -> tensors.Tensors:
    return test_images.split(40)[0]


@pytest.fixture
def typical(small: Path) -> doubt.Outlines:
    with chdir(small):
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


def computed(browser: Browser, images: torch.Tensor, what: str = "forward(pixels).probabilities") -> list:
    """What the page computes of images (n, 28, 28) uint8: its own probabilities, or something else."""
    return browser.value(
        f"""(() => {{
            const all = bytes("{chain.encoded(images.numpy())}");
            const image = (pixels) => {what};
            return Array.from({{ length: {len(images)} }}, (_, i) => image(all.subarray(784 * i, 784 * (i + 1))));
        }})()"""
    )


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


SKETCH = """
((strokes, left, top, width) => {
  paper.setPointerCapture = () => {};
  const event = (type, [x, y]) => {
    const [clientX, clientY] = [left + x * width, top + y * width].map(Math.fround);  // as precise as a mouse's are
    paper.dispatchEvent(new PointerEvent(type, {clientX, clientY, isPrimary: true}));
  };
  for (const [first, ...others] of strokes) {
    event("pointerdown", first);
    for (const point of others) event("pointermove", point);
    event("pointerup", others.at(-1) ?? first);
  }
})
"""


def sketch(browser: Browser, strokes: list[Stroke]) -> str:
    """The same by events that no mouse has made, which need not wait for the screen."""
    browser.value(f"{SKETCH}({json.dumps(strokes)}, ...{json.dumps(browser.value(PAPER))})")
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
    for kind in ("rawKeyDown", *(["char"] if name == "Enter" else []), "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, **event, **({"text": "\r"} if name == "Enter" else {}))


def rows(found: list[list[float]]) -> list[list[str]]:
    """What predictions.csv says of these probabilities."""
    return [[str(row.index(max(row))), str(max(row))] for row in found]


def test_its_probabilities_are_those_of_the_predictions_to_the_last_digit(sheet, small, test_images):
    table = pandas.read_csv(small / "plots/predictions.csv", dtype=str)
    assert rows(computed(sheet, test_images.images)) == table[["predicted", "probability"]].to_numpy().tolist()
    assert len(table) == 297


@pytest.mark.slow
def test_on_mnist_its_probabilities_and_what_it_says_of_drawings_are_right(browser, trained):
    with chdir(trained):
        images = tensors.to_tensors(data.load_test("mnist")).images
    browser.open(trained / "plots/draw.html")
    table = pandas.read_csv(trained / "plots/predictions.csv", dtype=str)
    assert rows(computed(browser, images)) == table[["predicted", "probability"]].to_numpy().tolist()
    assert len(table) == 10_000
    for width, by_touch in ((1280, False), (390, True)):
        for digit, strokes in ((0, ZERO), (1, ONE), (3, THREE)):
            browser.open(trained / "plots/draw.html", width)
            assert draw(browser, strokes, by_touch).startswith(f"Most likely {digit} (")


@pytest.mark.parametrize("layer", [0, 2])
def test_a_weight_changed_in_its_last_bit_gives_other_probabilities(layer, browser, network, test_images, tmp_path):
    changed = deepcopy(network)
    linear = changed[layer]
    weight = linear.weight.detach()
    other = torch.nextafter(weight, torch.tensor(torch.inf))
    bits = grid.factor_bits(linear.in_features)
    # Not one of those whose last bit the grid rounds away; of these, one that sees much ink
    candidates = grid.on_grid(weight, bits, (1,)).ne(grid.on_grid(other, bits, (1,)))
    seen = test_images.images.float().mean(0).flatten() if layer == 0 else torch.ones(linear.in_features)
    place = divmod(int((candidates * seen).argmax()), linear.in_features)
    linear.weight.data[place] = other[place]
    open_page(browser, tmp_path, page.filled(changed, test_images, TYPICAL, EXACT))
    found = computed(browser, test_images.images)
    assert found == expected(changed, test_images.images) != expected(network, test_images.images)


def test_what_math_exp_leaves_open_is_settled_with_integers(browser, network, few, tmp_path):
    text = page.filled(network, few, TYPICAL, EXACT)
    assert text.count("const ERROR = 2 ** -44") == 1
    open_page(browser, tmp_path, text.replace("const ERROR = 2 ** -44", "const ERROR = 2 ** -1"))
    images = odd_images()[:4]
    assert computed(browser, images) == expected(network, images)
    logits = [[0.0, 0.0], [1e-30, -3.5], [88.5, -15.25, 3.0], [-3e38, 3e38], [0.1, 100.7, -2.3]]
    logits = nn.utils.rnn.pad_sequence([*map(torch.tensor, logits)], True, -200.0).double().tolist()
    found = browser.value(f"{json.dumps(logits)}.map((row) => row.map((_, i) => share(row, i)))")
    with localcontext(prec=60):
        for row, values in zip(logits, found, strict=True):
            exponentials = [(Decimal(z) - Decimal(max(row))).exp() for z in row]
            true = [float(value / sum(exponentials)) for value in exponentials]
            # Less than 2**-150 is 0 as a float32
            assert [v for v, t in zip(values, true, strict=True) if t > 2**-150] == [t for t in true if t > 2**-150]


@pytest.mark.parametrize(("width", "by_touch"), [(1280, False), (390, True)])
@pytest.mark.parametrize("strokes", [THREE, ZERO, ONE], ids=["3", "0", "1"])
def test_a_drawing_is_seen_as_make_predict_sees_it(width, by_touch, strokes, browser, small, network):
    browser.open(small / "plots/draw.html", width)
    sentence = draw(browser, strokes, by_touch)
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
    x, y = left + width / 2, top + width / 5
    point(sheet, "Start", x, y)
    seen = []
    for step in (0.3, 0.6):
        point(sheet, "Move", x, y + step * width)
        sheet.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))")
        seen.append(shown(sheet))
    point(sheet, "End", x, y + step * width)
    assert seen[0] != seen[1]
    assert [sum(values) for values in seen] == pytest.approx([1, 1])


def test_the_keyboard_loads_test_images_and_clears(sheet, small, network, test_images):
    for _ in range(4):  # the paper, to clear, to undo
        press(sheet, "Tab")
    for label in range(3):
        press(sheet, "Enter")
        index = test_images.labels.tolist().index(label)
        (probabilities,) = expected(network, test_images.images[index : index + 1])
        best = probabilities.index(max(probabilities))
        says = f"the network says {best} ({100 * max(probabilities):.1f}\u00a0%)"
        verdict = "right" if best == label else "wrong"
        assert said(sheet) == f"Test image {index}, a {label}: {says} and is {verdict}."
        assert shown(sheet) == probabilities
        row = sheet.value("document.getElementById('row').textContent")
        assert row in (small / "plots/predictions.csv").read_text().splitlines()
    sheet.value("document.getElementById('clear').focus()")
    press(sheet, "Enter")
    assert said(sheet) == "Nothing is drawn yet."
    assert sheet.value("said.role") == "status"


def test_the_keyboard_draws_and_takes_back(sheet):
    press(sheet, "Tab")
    assert sheet.value("document.activeElement.id") == "paper"
    for key in ("ArrowUp", "ArrowUp", " ", "ArrowDown", "ArrowDown", "ArrowRight", " ", "ArrowLeft"):
        press(sheet, key)
    rows, columns = np.nonzero(ink(sheet))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (240 - 26, 280 + 26, 280 - 26, 300 + 26)
    assert said(sheet).startswith("Too small to tell") or said(sheet).startswith("Most likely")
    press(sheet, "Ctrl+z")
    assert said(sheet) == "Nothing is drawn yet."


def test_undo_takes_back_a_stroke_then_another_and_a_clearing(sheet):
    draw(sheet, ELEVEN[:1])
    one = ink(sheet)
    draw(sheet, ELEVEN[1:])
    two = ink(sheet)
    click(sheet, "clear")
    for expected_ink in (two, one, np.zeros_like(one), np.zeros_like(one)):
        click(sheet, "undo")
        assert np.array_equal(ink(sheet), expected_ink)
    click(sheet, "next")
    first = said(sheet)
    click(sheet, "undo")
    assert said(sheet) == "Nothing is drawn yet."
    click(sheet, "next")
    draw(sheet, ELEVEN[:1])
    click(sheet, "next")
    assert said(sheet) == first
    click(sheet, "next")
    press(sheet, "Ctrl+z")
    assert np.array_equal(ink(sheet), one)
    assert said(sheet).startswith("Most likely")
    draw(sheet, ELEVEN[1:])
    assert np.array_equal(ink(sheet), two)


@pytest.mark.parametrize(("width", "height"), [(320, 480), (390, 844), (568, 320), (640, 360), (640, 400), (1280, 800)])
def test_paper_answer_and_room_to_scroll_are_in_the_window_and_nothing_moves(width, height, browser, small):
    browser.open(small / "plots/draw.html", width, height=height)
    places = """['paper', 'clear', 'undo', 'next', 'said', 'classes'].map((id) => {
        const { left, top, right, bottom } = document.getElementById(id).getBoundingClientRect();
        return [left, top, right, bottom].map(Math.round); })"""
    before = browser.value(places)
    assert all(bottom <= height and right <= width for _, _, right, bottom in before[:5])
    assert before[0][2] <= width - 48
    assert before[0][2] - before[0][0] >= 200
    for strokes in (ELEVEN, TO_THE_EDGE, DOT, THREE):
        draw(browser, strokes)
        assert browser.value(places) == before
        click(browser, "next")
        assert browser.value(places) == before
        click(browser, "clear")
    assert browser.value("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("dark", [False, True])
def test_the_paper_s_border_is_seen_and_bars_stay_in_forced_colours_and_in_print(dark, browser, small):
    browser.open(small / "plots/draw.html", dark=dark)
    colors = browser.value("[getComputedStyle(paper).borderColor, getComputedStyle(document.body).backgroundColor]")
    assert contrast(*colors) >= 3
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "forced-colors", "value": "active"}])
    style = "(({ backgroundColor, color, printColorAdjust }) => [backgroundColor, color, printColorAdjust])"
    bar, body = (
        browser.value(f"{style}(getComputedStyle(document.querySelector('{element}')))") for element in ("td i", "body")
    )
    assert bar[0] == body[1] != body[0]
    assert bar[2] == "exact"


def test_a_stroke_that_starts_outside_selects_no_text(sheet):
    left, top, _ = sheet.value(PAPER)
    point(sheet, "Start", left - 40, 5)
    for step in (20, 200, 500):
        point(sheet, "Move", left + step, top + step)
    point(sheet, "End", left + 500, top + 500)
    assert sheet.value("getSelection().toString()") == ""


def test_without_javascript_it_says_so(browser, small):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(small / "plots/draw.html")
        text = browser.value("document.body.innerText")
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert "This page computes the network with JavaScript, which is switched off" in text
    assert "Clear" not in text


def test_it_doubts_what_doubt_py_doubts(sheet, typical, test_images):
    lying = test_images.images.rot90(1, (1, 2))
    images = torch.cat([odd_images(), test_images.images, lying]).contiguous()
    found = computed(sheet, images, "unlike(pixels)")
    assert found == doubt.unlike(images.numpy(), typical).tolist()
    assert 0 < sum(found) < len(found)
    alarms = sum(found[len(odd_images()) :][: len(test_images.images)])
    assert f"a false alarm for {alarms} of the 297 test images" in sheet.value("document.body.innerText")


@pytest.mark.slow
def test_of_letters_and_shapes_most_get_a_doubt(browser, trained):
    browser.open(trained / "plots/draw.html")

    def passed(shapes: dict[str, list[Stroke]]) -> list[str]:
        found = []
        for name, strokes in shapes.items():
            click(browser, "clear")
            found += [] if ", but " in sketch(browser, strokes) else [name]
        return found

    assert passed(CHOSEN) == ["B"]
    assert passed(OTHERS) == ["at", "man", "crossed circle"]
    assert passed(AFTERWARDS) == ["f", "spoon"]
    assert passed({"0": ZERO, "1": ONE, "3": THREE}) == ["0", "1", "3"]
    total = len(CHOSEN | OTHERS | AFTERWARDS)
    assert f"{total - 6} of {total} letters and shapes got a doubt" in browser.value("document.body.innerText")


class Computing(nn.Module):
    """What somebody computes of images by a linear layer."""

    def __init__(self, compute: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.output, self.compute = nn.Linear(784, 10), compute

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.compute(self.output, images)


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


def built(name: str, hidden_units: int) -> Callable[[], nn.Module]:
    return lambda: model.empty(Initial(model=name, hidden_units=hidden_units, seed=0))


CHAINS = {
    **{f"{name}, {units} hidden units": built(name, units) for name in model.MODELS for units in (3, 300)},
    "two convolutions": chained(
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
    "large weights": lambda: nn.Sequential(
        nn.Linear(784, 5), nn.Sigmoid(), nn.Linear(5, 6), nn.Sigmoid(), nn.Linear(6, 10, bias=False)
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_any_chain_of_its_layers_gets_the_probabilities_of_pytorch(name, browser, few, tmp_path):
    network = CHAINS[name]().eval()
    model.initialize(network, torch.Generator().manual_seed(4))
    for weight in network.parameters() if name == "large weights" else ():
        weight.data *= 300  # both ends of the sigmoid
    images = torch.cat([odd_images(), few.images])
    open_page(browser, tmp_path, page.filled(network, few, TYPICAL, EXACT))
    found = computed(browser, images)
    assert found == expected(network, images)
    assert (min(map(min, found)) < 1e-30) == (name == "large weights")
    first = next(network.parameters())
    units = min(len(first), 100) if first.shape[1:] == (model.INPUTS,) else 0  # that see the pixels
    assert browser.value("document.querySelectorAll('#units canvas').length") == units


def test_tanh_is_settled_with_integers_where_the_library_leaves_it_open(sheet):
    x = torch.tensor([0.0, 1e-38, -1e-45, 3e-4, -0.7, 1.25, 9.5, -200.0])
    found = sheet.value(f"{json.dumps(x.double().tolist())}.map((x) => Math.fround(tangent(x)))")
    with EXACT:
        assert found == x.tanh().tolist()


REFUSED = {
    "a part (batch_norm) that it does not know": chained(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)),
    "a part (add) that does not take": lambda: Computing(lambda layer, x: layer(x + x.relu())),
    "average pooling with ceil_mode": chained(nn.AvgPool2d(3, ceil_mode=True)),
    "a part that does not always compute the same": lambda: Computing(
        lambda layer, x: layer(x) if len(x) < 30 else layer(x).relu()
    ),
    "results of shape (11,) for an image": lambda: nn.Linear(784, 11),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_of_a_network_that_it_can_not_compute_it_says_why(reason, browser, few, tmp_path):
    open_page(browser, tmp_path, page.filled(REFUSED[reason](), few, TYPICAL, EXACT))
    text = browser.value("document.body.innerText")
    assert "There is nothing to draw on here" in text
    assert f"and the trained network has {reason}" in text
    assert browser.value("paper.checkVisibility()") is False


def test_natively_trained_networks_are_drawn_on_too(small, network, test_images, typical):
    text = page.filled(network, test_images, typical, nullcontext())
    assert text == (small / "plots/draw.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "size"), [("sequential, 3 hidden units", 100_000), ("two convolutions", 200_000)])
def test_it_needs_no_other_file_and_is_small(name, size, few):
    text = page.filled(CHAINS[name](), few, TYPICAL, EXACT)
    assert len(text.encode()) < size
    assert not any(word in text for word in ("http:", "https:", "src=", "import(", "fetch("))
