"""The page of `dvc plots show`, as Chromium shows it without a network."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

from stages import evaluate
from tests.browser import CHROMIUM, OPTIONS, needs_chromium
from tests.project import ROOT, run
from tools import page

import numpy as np
import pandas
import pytest
import vl_convert
import yaml
from dvc_render import VegaRenderer


def browse(url: str, profile: Path, *options: str) -> tuple[str, list[str]]:
    """The page's DOM when its scripts are done, and what they said on the console."""
    command = [str(CHROMIUM), *OPTIONS, "--enable-logging=stderr"]
    settled = ["--virtual-time-budget=60000", "--dump-dom", f"--user-data-dir={profile}"]
    done = subprocess.run([*command, *settled, *options, url], capture_output=True, text=True, timeout=240, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def look(index: Path, profile: Path, *options: str) -> list[dict]:
    """What the probe saw on the page 1280 and 390 pixels wide."""
    probe = shutil.copy(Path(__file__).with_name("probe.html"), index.with_name("probe.html"))
    dom, console = browse(Path(probe).as_uri(), profile, "--allow-file-access-from-files", *options)
    assert not console
    report = re.search(r'<pre id="report">(.*?)</pre>', dom, re.DOTALL)
    assert report and report[1], "the charts were never drawn"
    return json.loads(html.unescape(report[1]))


@pytest.fixture(scope="module")
def views(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """The page made by set-up and `dvc plots show`."""
    run("python", "-m", "tools.page", cwd=digits)
    run("dvc", "plots", "show", cwd=digits)
    return look(digits / "dvc_plots" / "index.html", tmp_path_factory.mktemp("profile"))


@pytest.fixture(scope="module")
def compared(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """The page of `dvc plots diff` of two experiments with different learning rates."""
    folder = tmp_path_factory.mktemp("compared") / "project"
    shutil.copytree(digits, folder, symlinks=True)
    run("python", "-m", "tools.page", cwd=folder)
    run("dvc", "exp", "rename", run("dvc", "exp", "list", "--name-only", cwd=folder).strip(), "slow", cwd=folder)
    run("dvc", "exp", "run", "--quiet", "--name", "fast", "-S", "lr=0.3", cwd=folder)
    run("dvc", "plots", "diff", "slow", "fast", cwd=folder)
    return look(folder / "dvc_plots" / "index.html", tmp_path_factory.mktemp("profile"))


def drawn(template: str, rows: list[dict[str, str]], **properties: object) -> str:
    """The SVG of a table drawn by a template of the project, by a Vega-Lite nearly as old as that of DVC's own page."""
    renderer = VegaRenderer(rows, "chart", template=template, template_dir=ROOT / ".dvc/plots", **properties)
    without_titles = {"legend": {"title": None}}  # as on the page: there, an empty legend makes a chart endless
    svg = vl_convert.vegalite_to_svg(renderer.get_filled_template(), vl_version="5.8", config=without_titles)
    assert "e+308" not in svg
    return svg


def drawn_loss(table: pandas.DataFrame) -> str:
    """The SVG of the columns of a table, over its epochs; cells reach the template as DVC reads them, as text."""
    rows = table.melt("epoch", var_name="field", value_name="loss").assign(rev="workspace").astype(object).fillna("")
    columns = [{"filename": "loss.csv", "field": name} for name in table.columns[1:]]
    return drawn("loss", rows.astype(str).to_dict("records"), x="epoch", y="loss", anchors_y_definitions=columns)


def contrast(*colors: str) -> float:
    """The contrast ratio, 1 to 21, of two colours rgb(…) by https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio."""
    channels = [[int(part) / 255 for part in re.findall(r"\d+", color)] for color in colors]
    linear = [[c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in color] for color in channels]
    dark, light = sorted(0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in linear)
    return (light + 0.05) / (dark + 0.05)


def plots(folder: Path) -> dict:
    return json.loads(run("dvc", "plots", "show", "--json", "--out", "json_plots", cwd=folder))


@pytest.mark.slow
@needs_chromium
def test_every_chart_and_picture_is_drawn_once_at_both_widths(digits, views):
    data = plots(digits)["data"]
    charts = {name.replace(" ", "_") for name, kind in data.items() if kind[0]["type"] == "vega"}
    pictures = {name for name, kind in data.items() if kind[0]["type"] == "image"} - {"plots/loss.png"}
    for view in views:
        assert view["charts"].keys() == charts - {"Summary"}
        assert min(map(len, view["charts"].values())) >= 2
        assert len(view["pictures"]) == len(pictures)
        assert all(picture["width"] > 100 and picture["shown"] for picture in view["pictures"])
        assert len(view["titles"]) == len(set(view["titles"])) == len(charts | pictures)
        assert view["overflow"] <= 0
    assert [view["width"] for view in views] == [1280, 390]


@pytest.mark.slow
@needs_chromium
def test_the_numbers_are_those_of_the_metrics(digits, views):
    test = json.loads((digits / "metrics/test.json").read_text())
    model = json.loads((digits / "metrics/model.json").read_text())
    names = ["accuracy", "accuracy_low", "accuracy_high", "error_rate", "loss"]
    for view in views:
        assert [float(value) for value, _ in view["numbers"]] == [*(test[name] for name in names), model["parameters"]]
        percents = [f"{test[name]:.2%}".replace("%", " %") for name in names[:4]]
        shown = [text for _, text in view["numbers"]]
        assert shown == [*percents, f"{test['loss']:.4f}", f"{model['parameters']:,}"]


@pytest.mark.slow
@needs_chromium
def test_settings_other_than_the_default_are_named(views):
    for view in views:
        line = next(line for line in view["text"].splitlines() if line.startswith("Settings other than"))
        assert re.sub("commit [0-9a-f]+:", "commit abc:", line) == (
            "Settings other than in params.yaml of commit abc: batch_size 10 (there 100) · dataset digits (there mnist)"
        )


@pytest.mark.slow
@needs_chromium
def test_the_confusion_shows_every_mistake(digits, views):
    counts = pandas.read_csv(digits / "plots/predictions.csv").value_counts(["actual", "predicted"])
    cells = [mark["opacity"] for mark in views[0]["charts"]["Confusion_matrix"] if mark["kind"] == "rect"]
    assert len(cells) == 100
    assert 100 - cells.count("0") == len(counts)
    words = views[0]["words"]["Confusion_matrix"]
    assert not {str(count) for count in counts} - set(words)


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize("scheme", [0, 1])  # dark, light
def test_every_word_can_be_read_in_the_light_and_in_the_dark(digits, views, tmp_path, scheme):
    for view in look(digits / "dvc_plots/index.html", tmp_path, f"--blink-settings=preferredColorScheme={scheme}"):
        assert (contrast(view["paper"], "rgb(0, 0, 0)") < 2) == (scheme == 0)
        assert min(contrast(ink, view["paper"]) for ink in view["ink"]) > 4.5


@pytest.mark.slow
@needs_chromium
def test_a_picture_fits_links_to_itself_and_opens_in_its_full_size(views):
    for view in views:
        assert all(picture["link"].endswith(picture["src"]) and picture["beyond"] < 0 for picture in view["pictures"])
        assert view["enlarged"] >= 1


@pytest.mark.slow
@needs_chromium
def test_no_column_is_half_empty(views):
    assert min(view["filled"] for view in views) > 0.9


@pytest.mark.slow
@needs_chromium
def test_a_screen_reader_is_told_the_numbers_of_every_chart(digits, compared):
    test = json.loads((digits / "metrics/test.json").read_text())
    first, *_, last = pandas.read_csv(digits / "plots/loss.csv").itertuples()
    for spoken in (view["spoken"] for view in compared):
        assert f" slow: {test['correct']} of {test['total']} test images correct;" in spoken["Confusion_matrix"]
        assert (
            f" slow: training loss from {first.train_loss:#.3g} in epoch 1 to {last.train_loss:#.3g} in"
            in spoken["Training_loss"]
        )
        assert (
            spoken["Calibration"].count(" slow: fraction correct ")
            == spoken["Scores_of_each_class"].count(" slow: class 0: ")
            == 1
        )
        assert all(" fast: " in sentence for sentence in spoken.values())


@pytest.mark.slow
@needs_chromium
def test_calibration_shows_both_whole_axes_one_diagonal_and_the_numbers_of_images(compared):
    marks, words = compared[0]["charts"]["Calibration"], compared[0]["words"]["Calibration"]
    assert [mark["kind"] for mark in marks].count("rule") == 1
    assert words.count("0.0") == words.count("1.0") == 2
    assert len({mark["shape"] for mark in marks if mark["kind"] == "symbol"}) > 2


@pytest.mark.slow
@needs_chromium
def test_no_point_of_the_loss_is_on_the_frame_and_no_heading_is_dvcs(views, compared):
    for view in (*views, *compared):
        assert min(min(mark["place"]) for mark in view["charts"]["Training_loss"] if mark["kind"] == "symbol") > 5
        assert not any("rev" in words for words in view["words"].values())


@pytest.mark.slow
@needs_chromium
def test_revisions_stand_side_by_side_and_what_they_share_is_shown_once(compared):
    for view in compared:
        seen = [picture for picture in view["pictures"] if picture["shown"]]
        shown = [Path(picture["src"]).stem.split("_", 1) for picture in seen]
        assert sorted(rev for rev, name in shown if name in ("plots_mistakes", "plots_weights")) == [
            *2 * ["fast"],
            *2 * ["slow"],
        ]
        assert all(rev == "slow" for rev, name in shown if "_samples_" in name or "_sweep_" in name)
        alts = [picture["alt"] for picture in view["pictures"]]
        assert len(alts) == len(set(alts))
        assert all(alt.endswith((", slow", ", fast")) for alt in alts)
        assert len(view["titles"]) == len(set(view["titles"]))
        assert [mark["kind"] for mark in view["charts"]["Confusion_matrix"]].count("rect") == 200
        assert view["overflow"] <= 0
    tops = [[picture["top"] for picture in view["pictures"] if "mistakes" in picture["src"]] for view in compared]
    assert tops[0][0] == tops[0][1]
    assert tops[1][0] < tops[1][1]


def test_a_class_never_seen_or_predicted_keeps_its_row_and_column():
    rows = [{"actual": actual, "predicted": "7", "rev": "workspace"} for actual in ("7", "7", "1")]
    assert drawn("confusion", rows, x="predicted", y="actual").count('aria-roledescription="rect mark"') == 100


def test_the_tint_of_a_cell_is_its_fraction_of_the_row_and_its_number_the_count():
    pairs = [*8 * [("7", "7")], ("7", "1"), *2 * [("3", "1")]]
    rows = [{"actual": actual, "predicted": predicted, "rev": "workspace"} for actual, predicted in pairs]
    svg = drawn("confusion", rows, x="predicted", y="actual")
    cells = dict(re.findall(r'predicted: (\d; actual: \d); shade[^>]* fill-opacity="([\d.]+)"', svg))
    tints = [float(cells[cell]) for cell in ("7; actual: 7", "1; actual: 7", "1; actual: 3")]
    assert tints == pytest.approx([(8 / 9) ** (1 / 3), (1 / 9) ** (1 / 3), 1], abs=1e-3)
    assert list(cells.values()).count("0") == 97
    assert sorted(re.findall(r'aria-roledescription="text mark"[^>]*>(\d+)<', svg)) == ["1", "2", "8"]


def test_marks_and_colours_are_the_same_in_the_page_and_in_the_picture_of_the_loss():
    loss = pandas.DataFrame({"epoch": [1, 2], "train_loss": [0.7, 0.6], "validation_loss": [0.8, 0.75]})
    published = pandas.DataFrame({"epoch": [1, 2], "fresh": [0.9, 0.8], "continued": [0.5, 0.4]})
    svg = drawn_loss(loss.merge(published))
    (axes,) = evaluate.loss_figure(loss.assign(validation_accuracy=np.nan), published).axes
    for name, line in zip([*published.columns[1:], *loss.columns[1:]], axes.lines, strict=True):
        (kind,) = set(re.findall(rf'series: [^"]*{name};[^>]* (?:stroke|fill)="([^"]+)"', svg))
        assert kind == line.get_color()
    dashes = re.findall(r'field: (\w+)"[^>]* stroke-dasharray="([^"]+)"', svg)
    assert dashes == [("train_loss", "1,0"), ("validation_loss", "4,4")]
    assert [line.get_linestyle() for line in axes.lines] == ["None", "None", "-", "--"]
    round_marks = set(re.findall(r'series: notebook, (\w+);[^>]* d="[^"]*A', svg))  # an arc
    assert round_marks == {"fresh"} and [line.get_marker() for line in axes.lines[:2]] == ["o", "s"]


def test_an_empty_cell_of_the_loss_is_not_drawn():
    table = pandas.DataFrame({"epoch": [1, 2, 3], "train_loss": [0.7, 0.6, 0.5], "validation_loss": [np.nan] * 3})
    svg = drawn_loss(table)
    assert svg.count('aria-roledescription="circle"') == 3
    assert "validation_loss" not in svg
    with_both = drawn_loss(table.assign(validation_loss=[0.8, 0.7, 0.6]))
    assert with_both.count('aria-roledescription="circle"') == 6


def test_the_loss_can_be_read_off_at_both_ends_of_its_axis_and_of_its_line():
    table = pandas.DataFrame({"epoch": [1, 2, 3], "train_loss": [1.3798, 0.5, 0.20719]}).assign(validation_loss=np.nan)
    words = re.findall(r"<text[^>]*>([^<]+)</text>", drawn_loss(table))
    (axes,) = evaluate.loss_figure(table.assign(validation_accuracy=np.nan), None).axes
    axes.figure.draw_without_rendering()
    low, high = axes.get_ylim()
    ticks = zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)
    labels = [label.get_text() for label, place in ticks if low <= place <= high]
    assert labels == ["0.15", "0.2", "0.3", "0.5", "0.7", "1", "1.5"]
    assert [text.get_text() for text in axes.texts] == ["1.38", "0.207"]
    assert words[:3] == ["1", "2", "3"]
    assert words[words.index("epoch") + 1 :][: len(labels) + 3] == [*labels, "loss", "1.38", "0.207"]


def test_the_first_and_the_last_loss_of_each_revision_are_labelled():
    losses = {"workspace": [1.38, 0.5, 0.207], "HEAD": [1.73, 0.4, 0.3]}
    rows = [
        {"epoch": str(epoch), "train_loss": str(loss), "rev": rev}
        for rev, own in losses.items()
        for epoch, loss in enumerate(own, 9)  # as text, "9" would come after "11"
    ]
    columns = [{"filename": "loss.csv", "field": "train_loss"}]
    svg = drawn("loss", rows, x="epoch", y="train_loss", anchors_y_definitions=columns)
    labels = re.findall(r'aria-roledescription="text mark"[^>]*>([\d.]+)<', svg)
    assert sorted(labels) == ["0.207", "0.3", "1.38", "1.73"]


@pytest.mark.slow
def test_dvc_finds_no_error_in_the_plots(digits):
    found = plots(digits)
    assert "errors" not in found
    defined = [next(iter(plot)) for plot in yaml.safe_load((digits / "dvc.yaml").read_text())["plots"]]
    assert [name for name, kind in found["data"].items() if kind[0]["type"] == "vega"] == defined
    assert all(len(drawn) == 1 for drawn in found["data"].values())


@pytest.mark.slow
def test_without_set_up_dvc_uses_its_own_page(digits, tmp_path):
    (digits / ".dvc/config.local").unlink(missing_ok=True)
    run("dvc", "plots", "show", "--out", str(tmp_path), cwd=digits)
    text = (tmp_path / "index.html").read_text()
    assert "<title>DVC Plot</title>" in text
    assert text.count("vegaEmbed('#") == len(yaml.safe_load((digits / "dvc.yaml").read_text())["plots"])


def test_every_plot_has_a_sentence_on_how_to_read_it():
    graph, sweep = (yaml.safe_load((ROOT / name).read_text()) for name in ("dvc.yaml", "sweep/dvc.yaml"))
    charts = [next(iter(plot)) for plot in graph["plots"]]
    stages = [*graph["stages"].values(), *sweep["stages"].values()]
    pictures = [next(iter(plot)) for stage in stages for plot in stage.get("plots", [])]
    guide = page.TEMPLATE.read_text().split("const GUIDE = {")[1].split("\n};")[0]
    keys = re.findall(r"^  (\w+): \[", guide, re.MULTILINE)
    names = sorted(re.sub(r"\W", "_", name) for name in {*charts, *pictures} - {"plots/loss.png"})
    assert sorted(keys) == names, "tools/page.html: GUIDE has a title and a sentence for each chart and picture"


@pytest.mark.slow
def test_it_links_to_the_page_of_the_trained_network(digits):
    (link,) = re.findall(r'href="(.*?)"', page.TEMPLATE.read_text(encoding="utf-8"))
    assert (digits / "dvc_plots" / link).resolve().samefile(digits / "plots/draw.html")


def test_page_holds_its_scripts_and_dvcs_places():
    text = page.page("draw()", {"lr": 0.1}, "abc")
    assert "<script>draw()</script>" in text
    assert 'const DEFAULTS = {"lr": 0.1};' in text
    assert 'const COMMIT = "abc";' in text
    assert text.count("{plot_divs}") == text.count("{refresh_tag}") == 1
    assert not re.search(r"https?://", text)
