from contextlib import chdir
from pathlib import Path

from stages import download
from stages.lib import data, digits, mirrors

import pytest


def test_the_files_are_the_published_ones(small: Path) -> None:
    found = {path.name: path.read_bytes() for path in (small / data.FOLDER).iterdir()}
    assert found.keys() == data.SHA256["digits"].keys()
    assert all(data.is_published("digits", name, content) for name, content in found.items())


def test_mnist_comes_from_the_mirrors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirrors, "fetch_any", lambda urls: {"a": b"from mirrors"})
    assert download.files("mnist") == {"a": b"from mirrors"}


def test_nothing_is_written_when_a_file_is_wrong(tmp_path: Path, run_stages, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "t10k-labels-idx1-ubyte"
    monkeypatch.setattr(download, "files", lambda dataset: digits.files() | {name: b"other"})
    with chdir(tmp_path):
        with pytest.raises(data.PipelineError, match=f"{name} is not the one of digits"):
            run_stages("download")
        assert not Path("data").exists()


def test_what_else_lies_in_the_folder_goes(tmp_path: Path, run_stages) -> None:
    (tmp_path / data.FOLDER / "folder").mkdir(parents=True)
    (tmp_path / data.FOLDER / "foreign").touch()
    with chdir(tmp_path):
        run_stages("download")
        assert {path.name for path in data.FOLDER.iterdir()} == data.SHA256["digits"].keys()
