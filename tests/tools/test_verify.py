"""make verify on a pipeline of three stages that take no time."""

import shutil
import subprocess
from contextlib import chdir
from importlib.metadata import version
from pathlib import Path

from stagecraft import resume
from stagecraft.errors import PipelineError
from tests.project import ENVIRONMENT
from tools import outputs, page, verify

import pytest

DVC = """
stages:
  number:
    cmd: sh number.sh
    deps: [number.sh]
    params: [numerics, rate]
    outs: [number.csv]
    metrics: [{metric.json: {cache: false}}]
  folder:
    cmd: mkdir -p raw/deep && cp number.csv raw/b && cp number.csv raw/deep/a && cp number.csv raw/A
    deps: [number.csv]
    outs: [raw]
  picture:
    cmd: python picture.py
    deps: [picture.py]
    plots: [picture.png: {cache: false}]
"""
NUMBER = """
printf 'epoch,loss\\n1,0.25\\n' > number.csv
echo '{"loss": 0.25}' > metric.json
"""
PICTURE = """
import os
from PIL import Image
Image.radial_gradient("L").save("picture.png", compress_level=int(os.environ.get("LEVEL", 6)))
"""


def shell(command: str) -> None:
    subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT)


def commit() -> None:
    shell("git add --all && git commit -qm 'Change'")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    with chdir(folder):
        Path("dvc.yaml").write_text(DVC)
        Path("number.sh").write_text(NUMBER)
        Path("picture.py").write_text(PICTURE)
        Path("params.yaml").write_text("numerics: exact\nrate: 1e-5\n")
        shell("git init -q && dvc init -q && dvc repro -q")
        commit()
    return folder


@pytest.fixture
def project(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recorded pipeline, with the versions that it was recorded with."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    Path("requirements.txt").write_text(f"numpy=={version('numpy')}\nnot-installed-here==1.0\n")
    return tmp_path


def test_hashes_are_those_of_dvc(project: Path) -> None:
    recorded = outputs.recorded(Path("dvc.lock").read_text())
    assert recorded["raw"].endswith(".dir")
    Path(".dvcignore").write_text("*.md\n")
    Path("raw/notes.md").touch()
    assert outputs.found(recorded, project) == recorded


def test_what_is_recorded_is_reproduced(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    verify.main()
    printed = capfd.readouterr().out
    header, line, *rows, _, verdict = printed.splitlines()
    assert header.split() == ["|", "output", "|", "recorded", "|", "here", "|", "same", "|"]
    assert set(line) == {"|", "-"}
    assert [row.split()[-2] for row in rows] == ["yes"] * 4
    assert verdict == "verify: all 4 outputs, computed again from nothing, are the recorded ones to the byte"


def test_no_training_goes_on_from_its_own_end(project: Path) -> None:
    resume.FOLDER.mkdir()
    (resume.FOLDER / "state").touch()
    verify.main()
    assert not resume.FOLDER.exists()


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
    with pytest.raises(PipelineError, match=r"number.csv came out different: line 2 should be '1,0.26.n', is '1,0.25"):
        verify.main()
    (row,) = [row for row in capfd.readouterr().out.splitlines() if row.startswith("| number.csv")]
    assert row.endswith("| NO   |")


def test_a_stage_that_varies_is_named(project: Path) -> None:
    Path("number.sh").write_text(NUMBER + "date +%N >> number.csv\n")
    shell("dvc repro -q")
    commit()
    with pytest.raises(PipelineError, match=r"number.csv came out different"):
        verify.main()


def test_code_that_was_not_recorded_is_told_before_and_after(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("number.sh").write_text(NUMBER + "# the same numbers\n")
    commit()
    with pytest.raises(PipelineError, match=r"was made with others than these: number.sh; commit it anew$"):
        verify.main()
    told = capfd.readouterr().out.splitlines()[0]
    assert told.startswith("These are not what the last commit's results were made with")
    shell("dvc repro -q")
    commit()
    verify.main()


def test_settings_of_an_experiment_are_named_before_the_run_and_verify_once_committed(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shell("dvc exp run -q -S rate=0.5")
    with pytest.raises(PipelineError, match=r"rate 0.5 \(recorded 1e-05\)"):
        verify.main()
    assert capfd.readouterr().out.splitlines()[0].endswith("and may change them: rate 0.5 (recorded 1e-05).")
    commit()
    verify.main()
    assert capfd.readouterr().out.splitlines()[-1].endswith("are the recorded ones to the byte")


def test_without_a_promise_of_bytes_equal_ones_are_not_called_proof(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("params.yaml").write_text("rate: 1e-5\nnumerics: native\n")
    shell("dvc repro -q")
    commit()
    verify.main()
    printed = capfd.readouterr().out.splitlines()
    assert printed[0].startswith("With numerics: native no bytes are promised")
    assert printed[-1].endswith("on this machine; with numerics: native no other can promise them")


def test_a_picture_of_the_same_pixels_in_other_bytes_is_the_same_and_said_so(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LEVEL", "1")
    for _ in range(2):  # the second finds the picture of the first, which is not altered either
        verify.main()
        *_, row, _, verdict = capfd.readouterr().out.splitlines()
        assert row.startswith("| picture.png") and row.endswith("| pixels |")
        assert verdict.endswith("are the recorded ones; 1 of them, pictures, to the pixel, in other bytes")


def test_a_picture_with_another_pixel_is_named(project: Path) -> None:
    Path("picture.py").write_text(PICTURE.replace('"L")', '"L").point(lambda value: value | 1)'))
    with pytest.raises(PipelineError, match=r"picture.png came out different: byte \d+"):
        verify.main()


@pytest.mark.parametrize("kept", [0, 60])
def test_a_file_that_is_no_whole_picture_is_named(kept: int, project: Path) -> None:
    Path("picture.png").write_bytes(Path("picture.png").read_bytes()[:kept])
    with pytest.raises(PipelineError, match=r"picture.png, as it was here before this run, was not the recorded one"):
        verify.main()


def test_where_a_folder_differs_the_file_is_named_and_its_first_difference(project: Path) -> None:
    Path("number.sh").write_text(NUMBER.replace("0.25\\n", "0.27\\n"))
    with pytest.raises(PipelineError, match=r"raw came out different: A: line 2 should be '1,0.25.n', is '1,0.27"):
        verify.main()


def test_without_the_recorded_file_its_hash_is_named(project: Path) -> None:
    shutil.rmtree(".dvc/cache")
    Path("number.sh").write_text(NUMBER.replace("0.25\\n", "0.27\\n"))
    with pytest.raises(PipelineError, match=r"number.csv came out different: its MD5 should be \w{32}, is \w{32}"):
        verify.main()


def test_versions_are_named_where_something_differs(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("requirements.txt").write_text(
        "numpy==0.1 ; python_version > '3'\n    # via nothing\nnot-installed-here==1.0\n"
    )
    verify.main()
    Path("number.sh").write_text(NUMBER.replace("0.25\\n", "0.27\\n"))
    with pytest.raises(PipelineError, match=rf"installed here: numpy {version('numpy')} \(pinned 0.1\)\n"):
        verify.main()


@pytest.mark.parametrize(
    "settings",
    [
        b"<<<<<<< ours\nrate: 1\n=======\nrate: 2\n>>>>>>> theirs\n",
        b"rate: 1\nrate: 2\n",
        b"- rate\n",
        b"rate: 1  # gr\xfcn\n",
    ],
)
def test_settings_that_can_t_be_read_are_told_as_make_run_does(project: Path, settings: bytes) -> None:
    Path("params.yaml").write_bytes(settings)
    with pytest.raises(PipelineError, match=r"params.yaml"):
        verify.main()
    commit()
    with pytest.raises(PipelineError, match=r"params.yaml of the last commit"):
        page.committed()


def test_a_committed_lock_with_conflicts_is_told(project: Path) -> None:
    Path("dvc.lock").write_text("<<<<<<< ours\n")
    commit()
    with pytest.raises(PipelineError, match=r"DVC can't read dvc.lock of the last commit"):
        verify.main()


def test_of_a_long_line_the_message_quotes_what_is_around_the_difference() -> None:
    before, now = (f"{'a' * 100_000}{digit}{'b' * 100_000}\n".encode() for digit in "12")
    told = outputs.first_difference(before, now)
    assert len(told) < 250 and "aaa1bbb" in told and "aaa2bbb" in told
    assert outputs.first_difference(b"a\n", b"a\nb\n") == "line 2 should be 'the end', is 'b\\n'"


def test_a_commit_without_results_has_nothing_to_compare_with(project: Path) -> None:
    shell("git rm -q --cached dvc.lock && git commit -qm Forget")
    with pytest.raises(PipelineError, match=r"the last commit has no dvc.lock to compare with"):
        verify.main()


def test_a_failing_pipeline_proves_nothing(project: Path) -> None:
    Path("number.sh").write_text("false\n")
    with pytest.raises(PipelineError, match=r"nothing was verified"):
        verify.main()
