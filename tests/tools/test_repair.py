"""DVC works again after it was killed while it wrote its own books."""

from pathlib import Path

from tests.project import ROOT, Project
from tools import repair

import pytest

LOCK = (ROOT / "dvc.lock").read_text()


@pytest.mark.parametrize("end", ["schem", "stages", "    ou", "hash: ", "hash: m", "hash: md5"])
def test_a_lock_that_was_cut_short_is_seen(end: str) -> None:
    assert repair.is_cut_short(LOCK[: LOCK.index(end)] + end)
    assert not repair.is_cut_short(LOCK)


@pytest.mark.parametrize("text", ["", '{"write": ', "[]", "\ufffd"])
def test_an_rwlock_that_is_none_is_seen(text: str) -> None:
    assert not repair.is_rwlock(text)
    assert repair.is_rwlock("{}")


def test_the_project_is_found_as_dvc_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project/.dvc").mkdir(parents=True)
    (tmp_path / "project/deep/er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert repair.project(["repro"]) is None
    assert repair.project(["--cd", "project", "repro"]) == tmp_path / "project"
    monkeypatch.chdir(tmp_path / "project/deep/er")
    assert repair.project(["repro", "--cd"]) == tmp_path / "project"


def test_a_merge_conflict_is_left_to_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    repair.TEMPORARY.mkdir(parents=True)
    conflict = f"<<<<<<< ours\n{LOCK[:300]}=======\n{LOCK[300:600]}>>>>>>> theirs\n"
    Path("dvc.lock").write_text(conflict)
    repair.repair()
    assert Path("dvc.lock").read_text() == conflict


def test_a_file_that_another_process_holds_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    repair.TEMPORARY.mkdir(parents=True)
    (repair.TEMPORARY / "rwlock").touch()
    with repair.held(repair.TEMPORARY / "rwlock.lock"):
        repair.repair()
        assert (repair.TEMPORARY / "rwlock").exists()
    repair.repair()
    assert not (repair.TEMPORARY / "rwlock").exists()


@pytest.mark.slow
def test_dvc_runs_again_and_gets_the_same_lock(tmp_path: Path) -> None:
    project = Project(tmp_path, dataset="digits", batch_size=400, epochs=1)
    project.run("dvc", "repro")
    lock = project.read("dvc.lock")
    project.run("git", "add", "dvc.lock")
    for content in (b"", lock[:4_096], lock[: lock.index(b"hash: m") + 7]):
        (tmp_path / "dvc.lock").write_bytes(content)
        (tmp_path / ".dvc/tmp/rwlock").write_bytes(b'{"write": ')
        project.run("dvc", "repro")
        assert project.read("dvc.lock") == lock
