import os
from pathlib import Path

from stagecraft import inputs
from stagecraft.errors import PipelineError

import pytest

GRAPH = """
stages:
  fit:
    cmd: python -m stages.fit
    deps: [fit.py, data, package, missing.py]
    params: [lr, {grid.yaml: [grid]}]
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("data/deep", "package/tests"):
        (tmp_path / folder).mkdir(parents=True)
    files = {
        "dvc.yaml": GRAPH, "params.yaml": "lr: 0.1\nseed: 0\n", "grid.yaml": "grid: {lr: [0.1, 0.2]}\n", "fit.py": "",
        "data/deep/labels": "12", "data/images": "3" * (inputs.LARGE + 1), "package/__init__.py": "",
        "package/README.md": "", "package/tests/test_fit.py": "",
    }  # fmt: skip
    for name, text in files.items():
        Path(name).write_text(text)
    monkeypatch.setattr(inputs, "STARTED", 2**63)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("params.yaml", "lr: 0.4\nseed: 0\n", r"lr \(was 0.1, is 0.4\)"),
        ("params.yaml", "seed: 0\n", r"lr \(was 0.1, is nothing\)"),
        ("grid.yaml", "grid: {lr: [0.1, 0.3]}\n", r"grid \(was \{'lr': \['0.1', '0.2'\]\}, is .*0.3.*"),
        ("fit.py", "pass", "fit.py"),
        ("fit.py", "gone", "fit.py"),
        ("missing.py", "", "missing.py"),
        ("data/deep/labels", "21", "data/deep/labels"),
        ("data/images", "4" * (inputs.LARGE + 1), "data/images"),
        ("package/more.py", "", "package/more.py"),
        ("package/page.html", "", "package/page.html"),
    ],
)
def test_what_changed_while_a_stage_ran_is_named(name: str, text: str, told: str) -> None:
    with pytest.raises(PipelineError, match=f"while fit ran, somebody changed {told}:"), inputs.unchanged("fit"):
        Path(name).unlink() if text == "gone" else Path(name).write_text(text)


@pytest.mark.parametrize("name", ["params.yaml", "package/README.md", "package/tests/test_fit.py", "dvc.yaml"])
def test_what_shapes_nothing_of_the_stage_may_change(name: str) -> None:
    with inputs.unchanged("fit"):
        Path(name).write_text("lr: 0.1\nseed: 1\n")
        Path("fit.py").write_text("")  # written again, as the queue of DVC does it, with the same content


def test_code_that_changed_after_it_may_have_been_loaded_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "STARTED", Path("fit.py").stat().st_mtime_ns - 1)
    os.utime("package/__init__.py", (0, 0))
    with pytest.raises(PipelineError, match=r"somebody changed fit\.py:"), inputs.unchanged("fit"):
        raise AssertionError("it began")


def test_only_where_there_is_a_graph_it_must_have_the_stage_and_something_is_checked() -> None:
    with pytest.raises(PipelineError, match=r"expected a stage 'other' in dvc.yaml, found fit"):
        inputs.unchanged("other").__enter__()
    Path("dvc.yaml").unlink()
    with inputs.unchanged("other"):
        Path("fit.py").write_text("pass")
