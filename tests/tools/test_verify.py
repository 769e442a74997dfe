"""make verify on a pipeline of two stages that takes no time."""

import shutil
import subprocess
from contextlib import chdir
from pathlib import Path

from stages.lib.errors import PipelineError
from tools import outputs, promise, verify

import pytest

DVC = """
stages:
  number:
    cmd: sh number.sh
    deps: [number.sh]
    outs: [number.csv]
    metrics: [{metric.json: {cache: false}}]
  folder:
    cmd: mkdir -p raw/deep && cp number.csv raw/b && cp number.csv raw/deep/a && cp number.csv raw/A
    deps: [number.csv]
    outs: [raw]
"""
NUMBER = """
printf 'epoch,loss\\n1,0.25\\n' > number.csv
echo '{"loss": 0.25}' > metric.json
"""


def shell(command: str) -> None:
    subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL)


def commit() -> None:
    shell("git add --all && git -c user.name=a -c user.email=a@localhost commit -qm 'Change'")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    with chdir(folder):
        Path("dvc.yaml").write_text(DVC)
        Path("number.sh").write_text(NUMBER)
        shell("git init -q && dvc init -q && dvc repro -q")
        commit()
    return folder


@pytest.fixture
def project(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recorded pipeline, on a machine for which the same bytes are promised."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(promise, "limits", lambda: [])
    return tmp_path


def test_hashes_are_those_of_dvc(project: Path) -> None:
    recorded = outputs.recorded(Path("dvc.lock").read_text())
    assert recorded["raw"].endswith(".dir")
    assert outputs.found(recorded, project) == recorded


def test_what_is_recorded_is_reproduced(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    verify.main()
    printed = capfd.readouterr().out
    header, line, *rows, _, verdict = printed.splitlines()
    assert header.split() == ["|", "output", "|", "recorded", "|", "here", "|", "same", "|"]
    assert set(line) == {"|", "-"}
    assert [row.split()[-2] for row in rows] == ["yes"] * 3
    assert verdict == "verify: all 3 outputs, computed again from nothing, are the recorded ones to the byte"


@pytest.mark.parametrize("path", ["number.csv", "metric.json", "raw/deep/a"])
def test_an_edited_output_is_named(project: Path, path: str, capfd: pytest.CaptureFixture[str]) -> None:
    text = Path(path).read_text()
    Path(path).write_text(text.replace("0.25", "0.26"))
    name = path.split("/")[0]
    with pytest.raises(PipelineError, match=f"{name}, as it was here before this run, was not the recorded one"):
        verify.main()
    (row,) = [row for row in capfd.readouterr().out.splitlines() if row.startswith(f"| {name} ")]
    assert row.endswith("| yes, was ALTERED |")


def test_an_output_edited_in_the_commit_is_named(project: Path) -> None:
    Path("metric.json").write_text('{"loss": 0.26}\n')
    commit()
    with pytest.raises(PipelineError, match=r"metric.json in the last commit is not the one that dvc.lock records"):
        verify.main()


def test_an_output_edited_and_recorded_is_named(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("number.csv").write_text("epoch,loss\n1,0.26\n")
    shell("dvc commit --quiet --force")
    commit()
    with pytest.raises(PipelineError, match=r"number.csv came out different: recorded \w{32}, here \w{32}"):
        verify.main()
    (row,) = [row for row in capfd.readouterr().out.splitlines() if row.startswith("| number.csv")]
    assert row.endswith("| NO   |")


def test_a_stage_that_varies_is_named(project: Path) -> None:
    Path("number.sh").write_text(NUMBER + "date +%N >> number.csv\n")
    shell("dvc repro -q")
    commit()
    with pytest.raises(PipelineError, match=r"number.csv came out different"):
        verify.main()


def test_code_that_was_not_recorded_is_told(project: Path) -> None:
    Path("number.sh").write_text(NUMBER + "# the same numbers\n")
    with pytest.raises(PipelineError, match=r"dvc.lock of the last commit records other code or settings"):
        verify.main()


def test_a_failing_pipeline_proves_nothing(project: Path) -> None:
    Path("number.sh").write_text("false\n")
    with pytest.raises(PipelineError, match=r"nothing was verified"):
        verify.main()


@pytest.mark.parametrize("inside", [True, False])
def test_metrics_count_where_bytes_are_not_promised(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], inside: bool
) -> None:
    metrics = {"train_loss": 0.2059, "accuracy": 0.9402 if inside else 0.93, "loss": 0.2067}
    monkeypatch.setattr(promise, "limits", lambda: ["it needs a processor with AVX2, this one has none"])
    monkeypatch.setattr(promise, "other_settings", lambda: [])
    monkeypatch.setattr(promise, "metrics", lambda: metrics)
    Path("number.sh").write_text(NUMBER.replace("0.25", "0.2500001"))
    if inside:
        verify.main()
        assert "the bytes prove nothing here" in capfd.readouterr().out
    else:
        with pytest.raises(PipelineError, match=r"accuracy 0.9300 lies outside the band of 20 seeds"):
            verify.main()
        printed = capfd.readouterr().out
        assert printed.startswith("The same bytes are not promised here:\n- it needs a processor with AVX2")


def test_other_settings_have_no_band(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promise, "limits", lambda: ["it is for Linux on x86_64, this is Darwin on arm64"])
    monkeypatch.setattr(promise, "other_settings", lambda: ["lr: 0.5"])
    with pytest.raises(PipelineError, match=r"nothing to compare lr: 0.5 with"):
        verify.main()
