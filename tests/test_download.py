import shutil
from contextlib import chdir
from pathlib import Path

from stages import download
from stages.lib import data, digits, mirrors
from stages.lib.errors import PipelineError

import pytest

NAMES = data.DATASETS["digits"].sha256.keys()


def test_the_files_are_the_published_ones(small: Path) -> None:
    found = {path.name: path.read_bytes() for path in (small / data.FOLDER).iterdir()}
    assert found.keys() == NAMES
    assert all(data.is_published("digits", name, content) for name, content in found.items())


def test_mnist_comes_from_the_mirrors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirrors, "fetch_any", lambda dataset: {dataset: b"from mirrors"})
    with chdir(tmp_path):
        assert download.files("mnist") == {"mnist": b"from mirrors"}


def test_what_the_folder_has_comes_from_nowhere_else(
    tmp_path: Path, run_stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(*_: object) -> None:
        pytest.fail("left the folder")

    found = digits.files()
    monkeypatch.setattr(digits, "files", leave)
    monkeypatch.setattr(mirrors, "fetch_any", leave)
    monkeypatch.setitem(data.DATASETS, "mnist", data.DATASETS["digits"])
    (tmp_path / data.FOLDER).mkdir(parents=True)
    with chdir(tmp_path):
        for name, content in found.items():
            (data.FOLDER / name.replace("-idx", ".idx")).write_bytes(content)  # as one may have put it there
        for dataset in ("digits", "mnist"):
            run_stages("download", dataset=dataset)
            assert {path.name: path.read_bytes() for path in data.FOLDER.iterdir()} == found


@pytest.mark.parametrize("damaged", [b"", b"\0\0\x08\1\0\0\0\1\7"])
def test_a_damaged_file_is_made_anew(damaged: bytes, small: Path, tmp_path: Path, run_stages) -> None:
    shutil.copytree(small / data.FOLDER, tmp_path / data.FOLDER)
    with chdir(tmp_path):
        data.TEST_FILES[1].write_bytes(damaged)
        with pytest.raises(PipelineError, match="run `make repair`"):
            data.load_test("digits")
        run_stages("download")
        data.load_test("digits")


def test_nothing_is_written_when_a_file_is_wrong(tmp_path: Path, run_stages, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "t10k-labels-idx1-ubyte"
    found = digits.files() | {name: b"other"}
    monkeypatch.setattr(digits, "files", lambda: found)
    with chdir(tmp_path):
        with pytest.raises(PipelineError, match=f"{name} is not the one of digits"):
            run_stages("download")
        assert not Path("data").exists()


def test_what_else_lies_in_the_folder_goes(tmp_path: Path, run_stages) -> None:
    (tmp_path / data.FOLDER / "folder").mkdir(parents=True)
    (tmp_path / data.FOLDER / "foreign").touch()
    with chdir(tmp_path):
        run_stages("download")
        assert {path.name for path in data.FOLDER.iterdir()} == NAMES
