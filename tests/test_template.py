"""What docs/change.md says can be deleted can be: the pipeline still runs after each of its lines."""

import re
from pathlib import Path

from tests.project import ROOT, Project

import pytest

PAGE = (ROOT / "docs/change.md").read_text(encoding="utf-8")
LINES = re.findall(r"^\$ (.*?) +#", PAGE.split("## Make it yours")[1], re.MULTILINE)
ONE_WAY = '''"""The network, written in one way."""

from stagecraft.errors import PipelineError
from stages.lib.params import Initial

import samebits
import torch
from torch import nn

INPUTS, CLASSES = 28 * 28, 10


def sequential(hidden_units: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(INPUTS, hidden_units), nn.Sigmoid(), nn.Linear(hidden_units, CLASSES))


MODELS = {"sequential": sequential}

'''


@pytest.mark.slow
def test_the_pipeline_runs_without_what_can_be_deleted(digits: Path, tmp_path: Path) -> None:
    project = Project(tmp_path, original=digits)
    weights = project.read("models/checkpoint.safetensors")
    assert len(LINES) == 5
    for line in LINES:
        project.run("sh", "-ec", line)
        project.run("dvc", "repro")
    assert not (tmp_path / "tools").exists()

    model = tmp_path / "stages/lib/model.py"
    functions = model.read_text().split("def empty(")[1]
    model.write_text(f"{ONE_WAY}\ndef empty({functions}")
    assert "Running stage 'train'" in project.run("dvc", "repro")
    assert project.read("models/checkpoint.safetensors") == weights
