import gzip
import hashlib
import json
import shutil
from contextlib import chdir
from pathlib import Path

from stagecraft.errors import PipelineError
from stages.lib import data, digits, mirrors, plot
from tests.project import STAGES, Project

import pytest
import torchvision

FILES = digits.files()


def found() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in data.FOLDER.iterdir() if path.is_file()}


@pytest.mark.parametrize("packed", [True, False])
def test_what_the_folder_has_comes_from_nowhere_else(packed, tmp_path, run_stages, monkeypatch):
    monkeypatch.setitem(data.DATASETS, "mnist", data.DATASETS["digits"])
    for module, name in ((digits, "files"), (mirrors, "fetch_any")):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("left the folder"))
    (tmp_path / data.FOLDER).mkdir(parents=True)
    with chdir(tmp_path):
        for name, content in FILES.items():
            path = data.FOLDER / (f"{name}.gz" if packed else name)
            path.write_bytes(gzip.compress(content) if packed else content)
        for dataset in ("digits", "mnist"):
            run_stages("download", dataset=dataset)
            assert found().items() >= FILES.items()


@pytest.mark.parametrize("dataset", ["fashion-mnist", "kmnist"])
def test_other_datasets_go_through_all_stages_under_their_own_names(dataset, tmp_path, small, run_stages, monkeypatch):
    """On stand-ins for their files, from a folder that the user names."""
    files = {name: data.encode_idx(data.decode_idx(content)[::-1]) for name, content in FILES.items()}
    archives = {f"{name}.gz": gzip.compress(content) for name, content in files.items()}
    for name, content in archives.items():
        (tmp_path / name).write_bytes(content)
    known = data.DATASETS[dataset]
    sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()} if known.sha256 else {}
    monkeypatch.setitem(data.DATASETS, dataset, known._replace(sha256=sha256))
    md5 = [(name, hashlib.md5(content).hexdigest()) for name, content in archives.items()]
    monkeypatch.setattr(getattr(torchvision.datasets, known.torchvision), "resources", md5)
    monkeypatch.setenv(f"{dataset.upper().replace('-', '_')}_MIRROR", str(tmp_path))
    pictures = {}
    monkeypatch.setattr(plot, "save", lambda figure, path: pictures.update({Path(path).name: figure}))
    shutil.copytree(small / "data", tmp_path / "data")  # in which the digits' files are
    with chdir(tmp_path):
        if dataset == "kmnist":
            with pytest.raises(PipelineError, match="not the one of kmnist"):
                data.load_test("kmnist")
        run_stages(*STAGES, dataset=dataset)
        assert found() == files
        assert json.loads(Path("metrics/test.json").read_text())["total"] == 297
        first = [f"Class : {known.classes[label]}" for label in data.load_train(dataset).labels[:8]]
    titles = {name: [axes.get_title() for axes in figure.axes] for name, figure in pictures.items()}
    assert titles["row.png"] == first
    assert all(title.split(" taken")[0] in known.classes for title in titles["mistakes.png"])
    assert [label.get_text() for label in pictures["grid.png"].axes[0].get_yticklabels()] == list(known.classes)


@pytest.mark.parametrize("damaged", [b"", b"\0\0\x08\1\0\0\0\1\7"])
def test_a_damaged_file_is_made_anew_and_kept(damaged, small, tmp_path, run_stages, monkeypatch):
    shutil.copytree(small / data.FOLDER, tmp_path / data.FOLDER)
    monkeypatch.chdir(tmp_path)
    data.TEST_FILES[1].write_bytes(damaged)
    with pytest.raises(PipelineError, match="`make repair`"):
        data.load_test("digits")
    run_stages("download")
    kept = f"{data.TEST_FILES[1].name}.{hashlib.sha256(damaged).hexdigest()[:8]}"
    assert found() == FILES | {kept: damaged}


def test_nothing_is_written_when_a_file_is_wrong(tmp_path, run_stages, monkeypatch):
    monkeypatch.setattr(digits, "TRAIN_IMAGES", 1_499)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PipelineError, match=r"is not the one of digits: .*install the versions of"):
        run_stages("download")
    assert not Path("data").exists()


def test_what_else_lies_in_the_folder_stays_and_a_link_is_not_followed(tmp_path, run_stages, monkeypatch):
    own = tmp_path / "own"
    (own / "folder").mkdir(parents=True)
    (own / "notes").touch()
    (own / "link").symlink_to("folder")
    shutil.copytree(own, tmp_path / data.FOLDER, symlinks=True)
    monkeypatch.chdir(tmp_path)
    run_stages("download")
    assert {path.name for path in data.FOLDER.iterdir()} == FILES.keys() | {"folder", "notes", "link"}
    shutil.rmtree(data.FOLDER)
    data.FOLDER.symlink_to(own)
    with pytest.raises(PipelineError, match=f"data/raw is a link to {own}, where nothing is written or deleted"):
        run_stages("download")
    assert {path.name for path in own.iterdir()} == {"folder", "notes", "link"}


@pytest.mark.slow
def test_dvc_leaves_it_there_too_and_records_only_the_data(tmp_path):
    project = Project(tmp_path, dataset="digits")
    project.run("dvc", "repro", "--quiet", "download")
    recorded = project.read("dvc.lock")
    own = [tmp_path / data.FOLDER / name for name in ("notes", "folder/notes", f"{data.FILES[0]}.gz")]
    own[1].parent.mkdir()
    for path in own:
        path.touch()
    project.run("dvc", "repro", "--force", "--quiet", "download")
    data_file = tmp_path / data.TEST_FILES[1]
    data_file.unlink()
    project.run("dvc", "checkout", "--force", "--quiet", "data/raw")  # as `dvc exp run` does
    assert data_file.exists() and all(path.exists() for path in own)
    assert project.read("dvc.lock") == recorded
