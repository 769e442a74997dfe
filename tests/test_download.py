import gzip
import hashlib
import json
import shutil
from contextlib import chdir
from pathlib import Path

from stagecraft.errors import PipelineError
from stages.lib import data, digits, mirrors, plot
from tests.project import STAGES, Project

import numpy as np
import pytest
import torchvision

FILES = digits.files()


def found() -> dict[str, bytes]:
    paths = [path for path in data.FOLDER.rglob("*") if path.is_file()]
    return {path.relative_to(data.FOLDER).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.parametrize(("ending", "pack"), [("", bytes), (".gz", gzip.compress)])
def test_what_the_folder_has_comes_from_nowhere_else(ending, pack, tmp_path, run_stages, monkeypatch):
    monkeypatch.setitem(data.DATASETS, "mnist", data.DATASETS["digits"])
    for module, name in ((digits, "files"), (mirrors, "fetch_any")):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("left the folder"))
    (tmp_path / data.FOLDER).mkdir(parents=True)
    with chdir(tmp_path):
        for name, content in FILES.items():
            (data.FOLDER / f"{name}{ending}").write_bytes(pack(content))
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
        images, labels = data.load_train(dataset)
    row, (grid,), mistakes = (pictures[f"{name}.png"].axes for name in ("row", "grid", "mistakes"))
    assert [axes.get_title() for axes in row] == [f"Class : {known.classes[label]}" for label in labels[:8]]
    np.testing.assert_allclose([axes.images[0].get_array() for axes in row], images[:8] / 255, rtol=1e-6)
    assert [label.get_text() for label in grid.get_yticklabels()] == list(known.classes)
    assert list(grid.get_yticks()) == sorted(grid.get_yticks()) and grid.yaxis_inverted()  # small ones at the top
    assert all(axes.get_title().split(" taken")[0] in known.classes for axes in mistakes)


@pytest.mark.parametrize("damaged", [b"", b"\0\0\x08\1\0\0\0\1\7"])
def test_a_damaged_file_is_made_anew_and_kept_as_is_what_else_lies_there(damaged, small, tmp_path, run_stages):
    shutil.copytree(small / data.FOLDER, tmp_path / data.FOLDER)
    with chdir(tmp_path):
        data.TEST_FILES[1].write_bytes(damaged)
        (data.FOLDER / "folder").mkdir()
        (data.FOLDER / "folder/notes").touch()
        with pytest.raises(PipelineError, match="`make repair`"):
            data.load_test("digits")
        run_stages("download")
        kept = f"{data.TEST_FILES[1].name}.{hashlib.sha256(damaged).hexdigest()[:8]}"
        assert found() == FILES | {kept: damaged, "folder/notes": b""}


def test_nothing_is_written_when_a_file_is_wrong(tmp_path, run_stages, monkeypatch):
    monkeypatch.setattr(digits, "TRAIN_IMAGES", 1_499)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PipelineError, match=r"is not the one of digits: .*install the versions of"):
        run_stages("download")
    assert not Path("data").exists()


def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path, run_stages, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (Path("own"), data.FOLDER.parent):
        folder.mkdir()
    data.FOLDER.symlink_to(tmp_path / "own")
    with pytest.raises(PipelineError, match=f"data/raw is a link to {tmp_path}/own, where nothing is written or dele"):
        run_stages("download")
    assert list(Path("own").iterdir()) == []


@pytest.mark.slow
def test_dvc_leaves_what_else_lies_there_and_records_only_the_data(tmp_path):
    project = Project(tmp_path, dataset="digits")
    project.run("dvc", "repro", "--quiet", "download")
    recorded = project.read("dvc.lock")
    own = [tmp_path / data.FOLDER / name for name in ("notes", "folder/notes", f"{data.FILES[0]}.gz")]
    own[1].parent.mkdir()
    for path in own:
        path.touch()
    project.run("dvc", "repro", "--force", "--quiet", "download")
    own.append(tmp_path / data.TEST_FILES[1])
    own[-1].unlink()
    project.run("dvc", "checkout", "--force", "--quiet", "data/raw")  # as `dvc exp run` does
    assert all(path.exists() for path in own)
    assert project.read("dvc.lock") == recorded
