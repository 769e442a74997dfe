"""The page of `dvc plots show`, as Chromium shows it without a network."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

from tests.project import ROOT, run
from tools import page

import pytest
import yaml

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NO_NETWORK = ("--proxy-server=http://127.0.0.1:9", "--host-resolver-rules=MAP * ~NOTFOUND")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; apt-get install chromium")


def browse(url: str, profile: Path, *options: str) -> tuple[str, list[str]]:
    """The page's DOM when its scripts are done, and what they said on the console."""
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--enable-logging=stderr",
        *NO_NETWORK,
    ]
    settled = ["--virtual-time-budget=60000", "--dump-dom", f"--user-data-dir={profile}"]
    done = subprocess.run([*command, *settled, *options, url], capture_output=True, text=True, timeout=240, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture(scope="module")
def shown(digits: Path) -> Path:
    """The page made by set-up and `dvc plots show`."""
    run("python", "-m", "tools.page", cwd=digits)
    run("dvc", "plots", "show", cwd=digits)
    return digits / "dvc_plots" / "index.html"


@pytest.fixture(scope="module")
def views(shown: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What the probe saw on the page 1280 and 390 pixels wide."""
    probe = shutil.copy(Path(__file__).with_name("probe.html"), shown.with_name("probe.html"))
    profile = tmp_path_factory.mktemp("profile")
    dom, console = browse(Path(probe).as_uri(), profile, "--allow-file-access-from-files")
    assert not console
    report = re.search(r'<pre id="report">(.*?)</pre>', dom, re.DOTALL)
    assert report and report[1], "the charts were never drawn"
    return json.loads(html.unescape(report[1]))


def plots(folder: Path) -> dict:
    return json.loads(run("dvc", "plots", "show", "--json", "--out", "json_plots", cwd=folder))


@pytest.mark.slow
@needs_chromium
def test_every_chart_and_picture_is_drawn_once_at_both_widths(digits, views):
    data = plots(digits)["data"]
    charts = {name.replace(" ", "_") for name, kind in data.items() if kind[0]["type"] == "vega"}
    pictures = [name for name, kind in data.items() if kind[0]["type"] == "image"]
    for view in views:
        assert view["charts"].keys() == charts - {"Summary"}
        assert min(view["charts"].values()) >= 2
        assert len(view["pictures"]) == len(pictures)
        assert min(view["pictures"].values()) > 100
        assert len(view["titles"]) == len(set(view["titles"])) == len(data)
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
        line = next(line for line in view["text"].splitlines() if line.startswith("Other than the default"))
        assert line == "Other than the default: dataset digits (default mnist) · batch_size 10 (default 100)"


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
    assert sorted(keys) == sorted(re.sub(r"\W", "_", name) for name in [*charts, *pictures])


def test_page_holds_its_scripts_and_dvcs_places():
    text = page.page("draw()", {"lr": 0.1}, "abc")
    assert "<script>draw()</script>" in text
    assert 'const DEFAULTS = {"lr": 0.1};' in text
    assert 'const COMMIT = "abc";' in text
    assert text.count("{plot_divs}") == text.count("{refresh_tag}") == 1
    assert not re.search(r"https?://", text)
