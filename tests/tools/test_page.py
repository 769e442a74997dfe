"""The page of `dvc plots show`, as Chromium shows it without a network."""

import json
import re
import shutil
from pathlib import Path

from tests.browser import Browser, contrast
from tests.project import MODULES, ROOT, run
from tools import page

import pandas
import pytest
import yaml

PROBE = Path(__file__).with_name("probe.js").read_text()
GRAPH = yaml.safe_load((ROOT / "dvc.yaml").read_text())
pytestmark = pytest.mark.slow


def look(browser: Browser, folder: Path, dark: bool = False) -> list[dict]:
    """What the probe sees on the page of a project, 1280 and 390 pixels wide."""
    views = []
    for width in (1280, 390):
        browser.open(folder / "dvc_plots/index.html", width, dark)
        views.append(browser.value(PROBE))
    return views


@pytest.fixture(scope="module")
def shown(digits: Path) -> Path:
    """A project in which set-up ran, and `dvc plots show`."""
    run("python", "-m", "tools.page", cwd=digits)
    run("dvc", "plots", "show", cwd=digits)
    return digits


@pytest.fixture(scope="module")
def views(shown: Path, browser: Browser) -> list[dict]:
    return look(browser, shown)


@pytest.fixture(scope="module")
def compared(shown: Path, browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """The page of `dvc plots diff` of two revisions with different learning rates."""
    folder = tmp_path_factory.mktemp("compared") / "project"
    shutil.copytree(shown, folder, symlinks=True)
    for command in (["add", "--all"], ["commit", "-qm", "Slow"], ["tag", "slow"]):
        run("git", *command, cwd=folder)
    run("dvc", "exp", "run", "--quiet", "--name", "fast", "-S", "lr=0.3", "evaluate", cwd=folder)
    run("dvc", "plots", "diff", "slow", "fast", cwd=folder)
    return look(browser, folder)


def test_every_chart_and_picture_is_drawn_once_at_both_widths_in_full_columns_and_pictures_enlarge(views):
    charts = {name.replace(" ", "_") for plot in GRAPH["plots"] for name in plot}
    pictures = {name for stage in MODULES.values() for plot in stage.get("plots", []) for name in plot}
    for view in views:
        assert view["charts"].keys() == charts - {"Summary"}
        assert min(map(len, view["charts"].values())) >= 2
        assert len(view["pictures"]) == len(pictures - {"plots/loss.png"})
        assert all(picture["width"] > 100 and picture["shown"] for picture in view["pictures"])
        assert all(picture["link"].endswith(picture["src"]) for picture in view["pictures"])
        assert view["enlarged"] >= 1
        assert view["filled"] > 0.9
        assert len(view["titles"]) == len(set(view["titles"])) == len(charts) + len(view["pictures"])
        assert view["overflow"] <= 0


def test_the_numbers_are_those_of_the_metrics(digits, views):
    test = json.loads((digits / "metrics/test.json").read_text())
    parameters = json.loads((digits / "metrics/model.json").read_text())["parameters"]
    fractions = [test[name] for name in ("accuracy", "accuracy_low", "accuracy_high", "error_rate")]
    percents = [f"{100 * fraction:.2f} %" for fraction in fractions]
    for view in views:
        values, texts = zip(*view["numbers"], strict=True)
        assert [*map(float, values)] == [*fractions, test["loss"], parameters]
        assert [*texts] == [*percents, f"{test['loss']:.4f}", f"{parameters:,}"]


def test_settings_other_than_the_default_are_named(views):
    changed = re.escape("batch_size 10 (there 100) · dataset digits (there mnist) · epochs 2 (there 17)")
    for view in views:
        assert re.search(rf"(?m)^Settings other than in params\.yaml of commit [0-9a-f]+: {changed}$", view["text"])


def test_every_word_can_be_read_in_the_light_and_in_the_dark(views, shown, browser):
    for found, darkest in ((views, False), (look(browser, shown, dark=True), True)):
        for view in found:
            assert (contrast(view["paper"], "rgb(0, 0, 0)") < 2) == darkest
            assert min(contrast(ink, view["paper"]) for ink in view["ink"]) > 4.5


def test_a_screen_reader_is_told_the_numbers_of_every_chart(digits, compared):
    test = json.loads((digits / "metrics/test.json").read_text())
    first, *_, last = pandas.read_csv(digits / "plots/loss.csv").itertuples()
    for spoken in (view["spoken"] for view in compared):
        assert f" slow: {test['correct']} of {test['total']} test images correct;" in spoken["Confusion_matrix"]
        losses = f"{first.train_loss:#.3g} in epoch 1 to {last.train_loss:#.3g} in"
        assert f" slow: training loss from {losses}" in spoken["Training_loss"]
        assert spoken["Calibration"].count(" slow: fraction correct ") == 1
        assert spoken["Scores_of_each_class"].count(" slow: class 0: ") == 1
        assert all(" fast: " in sentence for sentence in spoken.values())


def test_calibration_shows_both_whole_axes_one_diagonal_and_the_numbers_of_images(compared):
    marks, words = compared[0]["charts"]["Calibration"], compared[0]["words"]["Calibration"]
    assert [mark["kind"] for mark in marks].count("rule") == 1
    assert words.count("0.0") == words.count("1.0") == 2
    assert len({mark["shape"] for mark in marks if mark["kind"] == "symbol"}) > 2


def test_no_point_of_the_loss_is_on_the_frame_and_no_heading_is_dvcs(views, compared):
    for view in (*views, *compared):
        assert min(min(mark["place"]) for mark in view["charts"]["Training_loss"] if mark["kind"] == "symbol") > 5
        assert not any("rev" in words for words in view["words"].values())


def test_revisions_stand_side_by_side_and_what_they_share_is_shown_once(compared):
    for view in compared:
        shown = [Path(picture["src"]).stem.split("_", 1) for picture in view["pictures"] if picture["shown"]]
        results = [rev for rev, name in shown if name in ("plots_mistakes", "plots_weights")]
        assert sorted(results) == ["fast", "fast", "slow", "slow"]
        assert all(rev == "slow" for rev, name in shown if "_samples_" in name or "_sweep_" in name)
        alts = [picture["alt"] for picture in view["pictures"]]
        assert len(alts) == len(set(alts))
        assert all(alt.endswith((", slow", ", fast")) for alt in alts)
        assert [mark["kind"] for mark in view["charts"]["Confusion_matrix"]].count("rect") == 200
        assert view["overflow"] <= 0
    tops = [[picture["top"] for picture in view["pictures"] if "mistakes" in picture["src"]] for view in compared]
    assert tops[0][0] == tops[0][1]
    assert tops[1][0] < tops[1][1]


def test_without_set_up_dvc_uses_its_own_page(digits, tmp_path):
    (digits / ".dvc/config.local").unlink(missing_ok=True)
    run("dvc", "plots", "show", "--out", str(tmp_path), cwd=digits)
    text = (tmp_path / "index.html").read_text()
    assert "<title>DVC Plot</title>" in text
    assert text.count("vegaEmbed('#") == len(GRAPH["plots"])


def test_it_links_to_the_page_of_the_trained_network(digits):
    (link,) = re.findall(r'href="(.*?)"', page.TEMPLATE.read_text(encoding="utf-8"))
    assert (digits / "dvc_plots" / link).resolve().samefile(digits / "plots/draw.html")
