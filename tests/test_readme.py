"""README, docs, model card and requirements say what is true: stages, numbers, commands, and the map of the code."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

from stages.lib import data
from tests.project import PACKAGES, ROOT, STAGES, reading_order
from tools import outputs

import pandas
import pytest
import torch
import yaml

README, CARD, NOTEBOOK = ROOT / "README.md", ROOT / "MODEL.md", ROOT / "docs/notebook.md"
PAGES = {path: path.read_text(encoding="utf-8") for path in [README, CARD, *sorted((ROOT / "docs").glob("*.md"))]}


def test_the_table_of_stages_is_the_graph() -> None:
    rows = re.findall(r"^\| \[(\w+)\]\(stages/\1\.py\) \|", PAGES[README], re.MULTILINE)
    assert rows == list(STAGES), "README.md: each stage of dvc.yaml has a row in the table of stages, in its order"


def test_results_are_those_of_the_last_commit() -> None:
    # not of the working tree, which may hold an experiment
    test, model = (
        json.loads(subprocess.check_output(["git", "show", f"HEAD:./metrics/{name}.json"], cwd=ROOT))
        for name in ("test", "model")
    )
    accuracy, low, high = (f"{100 * test[name]:.2f}" for name in ("accuracy", "accuracy_low", "accuracy_high"))
    images, outs = f"the {test['total']:,} test images", len(outputs.recorded((ROOT / "dvc.lock").read_text()))
    for page, result in (
        (README, f"**{accuracy} %** of {images} correct (95 % interval {low} to {high} %), "),
        (README, f"test loss {test['loss']:.4f}, {model['parameters']:,} parameters"),
        (README, f"verify: all {outs} outputs, "),
        (CARD, f"on {images}: {test['correct']:,} right, an accuracy of {accuracy} % "),
        (CARD, f"(95 % interval {low} % to {high} %), loss {test['loss']:.4f} nats"),
    ):
        assert result in " ".join(PAGES[page].split()), f"{page.name}: the last commit's result is {result}"


def test_every_target_they_name_is_in_the_makefile() -> None:
    named = {name for page in PAGES.values() for name in re.findall(r"(?:^\$ |`)make ([a-z0-9-]+)", page, re.MULTILINE)}
    assert {"run", "verify", "test", "predict"} <= named
    assert named <= set(re.findall(r"^([a-z0-9-]+): ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("path", PAGES)
def test_every_file_it_links_to_is_there(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", PAGES[path])
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_first_command_comes_within_thirty_seconds() -> None:
    assert len(PAGES[README].split("$ git clone")[0].split()) <= 170
    assert len(PAGES[README].splitlines()) <= 110


def test_the_map_leads_through_all_files_and_has_their_lines() -> None:
    seen, table, total = {*PACKAGES}, "", 0
    for stage in STAGES:
        files = reading_order(f"stages/{stage}.py", seen)
        lines = [len((ROOT / file).read_text(encoding="utf-8").splitlines()) for file in files]
        links = [f"[{Path(file).stem}](../{file}) {count}" for file, count in zip(files, lines, strict=True)]
        table += f"| {', '.join(links)} | {sum(lines):,} |\n"
        total += sum(lines)
    assert f" {total:,} lines in all:" in PAGES[NOTEBOOK], f"docs/notebook.md: they are {total:,} lines"
    assert table in PAGES[NOTEBOOK], f"docs/notebook.md: the map of the code is now\n{table}"


def test_the_card_is_of_the_artifact_of_the_pipeline() -> None:
    artifact = yaml.safe_load((ROOT / "dvc.yaml").read_text())["artifacts"]["mnist-classifier"]
    assert artifact["path"] in STAGES["train"]["outs"] and artifact["type"] == "model"
    assert PAGES[CARD].startswith("# Model card: mnist-classifier\n")


def loaded(folder: Path, dataset: str, monkeypatch: pytest.MonkeyPatch) -> tuple[dict, list[torch.Tensor]]:
    """What the card's lines define in a folder, and the test images (n, 784), from 0 to 255, with their labels."""
    monkeypatch.chdir(folder)
    names: dict = {}
    lines = re.search(r"```python\n(.*?)```", PAGES[CARD], re.DOTALL)[1]
    assert len(list(filter(None, lines.splitlines()))) == 5
    exec(lines, names)
    images, labels = map(torch.tensor, data.load_test(dataset))
    return names, [images.flatten(1), labels]


@pytest.mark.slow
def test_the_card_s_lines_load_the_network(digits, monkeypatch):
    names, (images, labels) = loaded(digits, "digits", monkeypatch)
    recorded = json.loads(Path("metrics/test.json").read_text())["correct"]
    assert (names["digits"](images) == labels).sum() == recorded


@pytest.mark.slow
def test_the_card_s_limits_are_measured(trained, monkeypatch):
    names, (images, labels) = loaded(trained, "mnist", monkeypatch)
    moved = torch.roll(images.view(-1, 28, 28), 4, 2).flatten(1)
    recall = pandas.read_csv("plots/classes.csv")["recall"]
    for limit, share in (
        ("moved 4 pixels to the right: {:.1f} %", (names["digits"](moved) == labels).double().mean()),
        ("unprepared: {:.1f} %", (names["digits"](255 - images) == labels).double().mean()),
        (f"{recall.idxmin()} is the hardest class: {{:.2f}} %", recall.min()),
    ):
        assert limit.format(100 * float(share)) in " ".join(PAGES[CARD].split())


def test_requirements_pin_every_direct_dependency_and_leave_to_torch_what_cuda_needs() -> None:
    # Of torch==2.14.1 pip may take a build for CPUs; the others name the versions of CUDA's packages themselves.
    pins = re.findall(r"^([\w.-]+)(?:\[.*\])?==[^\s;]+", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    assert {re.split(r"[\[=<>]", name)[0].lower() for name in named} <= {*pins}
    assert [name for name in pins if name.startswith(("cuda", "nvidia", "triton"))] == []
