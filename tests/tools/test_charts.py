"""The template of DVC's page, and those of its charts, drawn as DVC fills them in."""

import re

from stages import evaluate
from tests.project import MODULES, ROOT
from tools import page

import numpy as np
import pandas
import pytest
import vl_convert
import yaml
from dvc_render import VegaRenderer


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


def test_the_tint_of_each_of_100_cells_is_its_fraction_of_the_row_and_its_number_the_count():
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


def test_the_loss_can_be_read_off_at_both_ends_of_its_axis_and_of_its_line_and_an_empty_cell_is_not_drawn():
    table = pandas.DataFrame({"epoch": [1, 2, 3], "train_loss": [1.3798, 0.5, 0.20719]}).assign(validation_loss=np.nan)
    svg = drawn_loss(table)
    assert svg.count('aria-roledescription="circle"') == 3
    assert "validation_loss" not in svg
    words = re.findall(r"<text[^>]*>([^<]+)</text>", svg)
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
    losses = [1.38, 0.5, 0.207, 1.73, 0.4, 0.3]
    table = pandas.DataFrame({"epoch": 2 * [9, 10, 11], "train_loss": losses, "rev": 3 * ["workspace"] + 3 * ["HEAD"]})
    columns = [{"filename": "loss.csv", "field": "train_loss"}]
    rows = table.astype(str).to_dict("records")  # as text, "9" would come after "11"
    svg = drawn("loss", rows, x="epoch", y="train_loss", anchors_y_definitions=columns)
    labels = re.findall(r'aria-roledescription="text mark"[^>]*>([\d.]+)<', svg)
    assert sorted(labels) == ["0.207", "0.3", "1.38", "1.73"]


def test_every_plot_has_a_sentence_on_how_to_read_it():
    graph = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    plots = [*graph["plots"], *(plot for stage in MODULES.values() for plot in stage.get("plots", []))]
    guide = page.TEMPLATE.read_text().split("const GUIDE = {")[1].split("\n};")[0]
    keys = re.findall(r"^  (\w+): \[", guide, re.MULTILINE)
    names = sorted(re.sub(r"\W", "_", name) for name in {name for plot in plots for name in plot} - {"plots/loss.png"})
    assert sorted(keys) == names, "tools/page.html: GUIDE has a title and a sentence for each chart and picture"


def test_page_holds_its_scripts_and_dvcs_places():
    text = page.page("draw()", {"lr": 0.1}, "abc")
    assert "<script>draw()</script>" in text
    assert 'const DEFAULTS = {"lr": 0.1};' in text
    assert 'const COMMIT = "abc";' in text
    assert text.count("{plot_divs}") == text.count("{refresh_tag}") == 1
    assert not re.search(r"https?://", text)
