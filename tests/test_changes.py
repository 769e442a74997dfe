"""Each line of docs/change.md, done as it says: what it is about is then in the results. See test_trainers.py, too."""

import hashlib
import json
import re
from pathlib import Path

from stages.lib import data, digits
from tests.project import ROOT, Project

import pytest

pytestmark = pytest.mark.slow
PAGE = (ROOT / "docs/change.md").read_text(encoding="utf-8")
CLASSES_STAGE = """
from stagecraft import output
from stages.lib import data, params

import numpy as np

labels = data.load_train(params.load().dataset).labels
output.write_json("metrics/classes.json", {str(i): int(n) for i, n in enumerate(np.bincount(labels))})
"""
CLASSES_ENTRY = """
  classes:
    desc: Count the training images of each class
    cmd: python -m stages.classes
    deps: [data/raw, stagecraft, stages/classes.py, stages/lib/data.py, stages/lib/params.py]
    params: [dataset]
    metrics: [metrics/classes.json: {cache: false}]

plots:
"""


@pytest.fixture(scope="module")
def project(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project on the digits after a run; the tests change it one after the other."""
    return Project(tmp_path_factory.mktemp("changed"), original=digits)


def edit(project: Project, path: str, old: str, new: str) -> None:
    file = project.folder / path
    text = file.read_text(encoding="utf-8")
    assert old in text, f"{path} has no {old!r}"
    file.write_text(text.replace(old, new), encoding="utf-8")


def stages_run(project: Project) -> list[str]:
    return re.findall(r"^Running stage '(\w+)'", project.run("dvc", "repro"), re.MULTILINE)


def test_these_are_the_lines() -> None:
    lines = re.findall(r"^\| ((?:an?|the) [\w ]+) \|", PAGE, re.MULTILINE)
    assert lines == [
        "a setting", "the network", "the optimizer", "a schedule", "the loss", "the augmentation",
        "the average of weights", "the end of training", "the dataset", "a new setting", "a new stage",
        "a chart or a picture",
    ]  # fmt: skip


def test_a_setting_and_a_colour_of_the_page_to_draw_on(project: Project) -> None:
    edit(project, "params.yaml", "mistakes: 24", "mistakes: 3")
    edit(project, "drawing/page.html", "--page: #fff", "--page: #ffe")
    assert stages_run(project) == ["evaluate", "draw"]


def test_the_network(project: Project) -> None:
    last = "nn.Linear(hidden_units, CLASSES),"
    layers = f"nn.ReLU(), nn.Linear(hidden_units, hidden_units), nn.ReLU(), {last}"
    edit(project, "stages/lib/model.py", f"nn.Sigmoid(),\n        {last}", layers)
    assert stages_run(project) == ["build", "train", "evaluate", "draw"]
    assert list(json.loads(project.read("metrics/model.json"))["layers"]) == ["0", "2", "4"]


def test_the_dataset(tmp_path: Path) -> None:
    project = Project(tmp_path / "project", dataset="negatives", epochs=1, batch_size=50)
    sha256 = {}
    for name, content in digits.files().items():
        images = data.decode_idx(content)
        content = data.encode_idx(255 - images if "images" in name else images)
        (tmp_path / name).write_bytes(content)
        sha256[name] = hashlib.sha256(content).hexdigest()
    entry = f'    "negatives": Dataset({sha256}, mirrors=("{tmp_path.as_uri()}",)),\n'
    edit(project, "stages/lib/data.py", "DATASETS = {\n", f"DATASETS = {{\n{entry}")
    project.run("dvc", "repro", "evaluate")
    assert {name: hashlib.sha256(project.read(f"data/raw/{name}")).hexdigest() for name in sha256} == sha256
    assert json.loads(project.read("metrics/test.json"))["total"] == 297


def test_the_optimizer_with_a_new_setting(project: Project) -> None:
    field = '    weight_decay: float = Field(ge=0, le=1, description="a number from 0 to 1")\n'
    edit(project, "stages/lib/params.py", "    momentum: float", f"{field}    momentum: float")
    with (project.folder / "params.yaml").open("a") as file:
        file.write("weight_decay: 0.01  # of Adam, 0 to 1\n")
    edit(project, "dvc.yaml", "      - validation_images\n", "      - validation_images\n      - weight_decay\n")
    edit(project, "sweep/dvc.yaml", "          - numerics\n", "          - numerics\n          - weight_decay\n")
    sgd = "SGD(network.parameters(), lr=settings.lr, momentum=settings.momentum, foreach=False)"
    adam = "torch.optim.Adam(network.parameters(), weight_decay=settings.weight_decay, foreach=False)"
    edit(project, "stages/train.py", sgd, adam)
    project.run("dvc", "repro", "train")
    weights = project.read("models/checkpoint.safetensors")
    assert b"weight_decay" in weights
    project.run("dvc", "exp", "run", "-S", "weight_decay=0", "train")
    assert project.read("models/checkpoint.safetensors") != weights
    project.run("dvc", "exp", "run", "-S", "weight_decay=0.01")
    assert project.read("models/checkpoint.safetensors") == weights


def test_a_new_stage(project: Project) -> None:
    (project.folder / "stages/classes.py").write_text(CLASSES_STAGE)
    edit(project, "dvc.yaml", "\nplots:\n", CLASSES_ENTRY)
    assert stages_run(project) == ["classes"]
    assert sum(json.loads(project.read("metrics/classes.json")).values()) == 1_500


def test_a_picture_and_a_chart(project: Project) -> None:
    saved = 'plot.save(class_grid(train.images[:20], 2, classes), "plots/samples/two.png")'
    edit(project, "stages/render.py", "    grid = first", f"    {saved}\n    grid = first")
    views, two = (f"      - plots/samples/{name}.png:" for name in ("views", "two"))
    edit(project, "dvc.yaml", views, f"{two}\n          cache: false\n{views}")
    chart = "  - Precision:\n      x: class\n      y:\n        plots/classes.csv: precision\n      template: points\n"
    edit(project, "dvc.yaml", "\nplots:\n", f"\nplots:\n{chart}")
    assert stages_run(project) == ["render"]
    shown = json.loads(project.run("dvc", "plots", "show", "--json"))
    assert "errors" not in shown
    assert {"plots/samples/two.png", "Precision"} <= shown["data"].keys()
