"""DVC works again after it was killed while it wrote its own books, and after its cache was damaged."""

import os
from pathlib import Path

from stagecraft.errors import PipelineError
from tests.tools.toy import shell
from tools import outputs, repair

import pytest
from dvc.lock import make_lock

pytestmark = pytest.mark.usefixtures("project")


def stored(path: str) -> Path:
    """The object in the cache of a file or a folder that is as recorded."""
    md5 = outputs.hash_of(Path(path))
    return Path(".dvc/cache/files/md5", md5[:2], md5[2:])


def damage(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(0o444)


def content() -> dict[str, bytes]:
    names = ["number.csv", "metric.json", "raw/a", "raw/B", "raw/deep/b", "dvc.lock"]
    return {name: Path(name).read_bytes() for name in names}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "link"),
    [
        *((path, link) for path in ("number.csv", "raw/deep/b") for link in ("copy", "symlink", "hardlink")),
        *((path, "copy") for path in ("metric.json", "raw")),  # which are never linked
    ],
)
def test_a_damaged_object_is_put_aside_and_made_again(path, link):
    shell(f"dvc config cache.type {link} && rm -r number.csv raw && dvc checkout -q")
    before, damaged = content(), stored(path)
    damage(damaged, b"epoch,loss\n1,0.26\n")
    if Path(path).is_file() and (link == "copy" or path == "metric.json"):  # else it is the same file
        Path(path).write_bytes(damaged.read_bytes())
    shell("dvc repro")  # DVC trusts the object, and notes that its copies have the right hash
    repair.main()
    assert damaged.with_name(f"{damaged.name}.damaged1").read_bytes() == b"epoch,loss\n1,0.26\n"
    shell("rm -f log; dvc repro")
    assert content() == before
    assert stored(path) == damaged and outputs.hash_of(damaged) == (damaged.parent.name + damaged.stem)
    assert Path("log").read_text() == ("folder\n" if path.startswith("raw") else "number\n")
    repair.main()
    assert not damaged.with_name(f"{damaged.name}.damaged2").exists()


def test_what_the_list_of_a_folder_no_longer_names_is_found_by_the_files_there():
    damaged = [stored("raw"), stored("raw/a")]
    for path in damaged:
        damage(path, b"")
    repair.main()
    assert [path.exists() for path in damaged] == [False, False]


def test_a_file_that_changed_behind_dvc_s_back_is_seen_by_dvc_again():
    shell("dvc status")
    before = Path("number.csv").stat()
    Path("number.csv").write_text("epoch,loss\n1,0.26\n")
    os.utime("number.csv", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "number.csv" not in shell("dvc status")
    repair.main()
    assert "modified:           number.csv" in shell("dvc status")
    assert Path("number.csv").read_text() == "epoch,loss\n1,0.26\n"


@pytest.mark.parametrize(
    "end", ["", "schem", "schema: '2.0'\n", "stages:\n  nu", "hash: m", "hash: md", "md5: 6", "\0\0\0\0\0\0"]
)
def test_a_lock_that_was_cut_short_is_replaced_and_kept(end, capfd):
    whole = Path("dvc.lock").read_text()
    text = whole[: whole.find(end[:5])] + end
    Path("dvc.lock").write_text(text)
    repair.main()
    assert Path("dvc.lock").read_text() == whole
    assert Path("dvc.lock.damaged1").read_text() == text
    assert "it is now called dvc.lock.damaged1; the last commit's is in its place" in capfd.readouterr().err
    shell("git rm -q --cached dvc.lock && git commit -qm Forget")
    Path("dvc.lock").write_text(text)
    repair.main()
    assert not Path("dvc.lock").exists() and Path("dvc.lock.damaged2").exists()


@pytest.mark.parametrize(
    "edit",
    [
        str.rstrip,
        "<<<<<<< ours\n{0}=======\n{0}>>>>>>> theirs\n".format,
        "{}>>>>>>> theirs\n".format,
        lambda whole: whole.replace("exact", "native"),
    ],
)
def test_a_lock_that_dvc_can_read_or_a_person_is_at_work_on_is_left_alone(edit):
    Path("dvc.lock").write_text(edit(Path("dvc.lock").read_text()))
    before = content()
    repair.main()
    assert content() == before
    assert [*Path().rglob("*.damaged*")] == []


@pytest.mark.parametrize("book", ["rwlock", "exps/rwlock"])
@pytest.mark.parametrize("text", ["", '{"write": ', "[]", "\0\0", '{"read": {"a": 1}}'])
def test_an_rwlock_that_is_none_is_put_aside(book, text):
    path = Path(".dvc/tmp", book)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    repair.main()
    assert not path.exists()
    path.write_text("{}")
    repair.main()
    assert path.exists()


NETWORK = """
import json
import numpy, yaml
from safetensors.numpy import save_file
settings = yaml.safe_load(open("params.yaml"))
settings["rate"] = float(settings["rate"])
save_file({"weight": numpy.zeros(1)}, "model.safetensors", {"settings": json.dumps(settings)})
"""


def set_to(rate: str) -> None:
    Path("params.yaml").write_text(f"numerics: exact\nrate: {rate}\n")


def test_what_a_network_contradicts_is_forgotten_and_made_again(capfd):
    Path("network.py").write_text(NETWORK)
    with Path("dvc.yaml").open("a") as graph:
        graph.write("  fit:\n    cmd: python network.py\n    params: [rate, numerics]\n    outs: [model.safetensors]\n")
    for rate in ("1e-5", "2"):
        set_to(rate)
        shell("dvc repro -q")
    true = Path("dvc.lock").read_text()
    repair.main()
    assert Path("dvc.lock").read_text() == true

    set_to("3")
    Path("dvc.lock").write_text(true.replace("rate: 2", "rate: 3"))  # as a merge may leave it
    assert "up to date" in shell("dvc status")
    shell("dvc commit -q -f fit")  # and so to the notes of earlier runs
    repair.main()
    told = capfd.readouterr().err
    assert "dvc.lock has fit with rate 3 where the network says 2.0: that entry is removed" in told
    assert told.count("rate 3 where the network says 2.0: it is removed") == 1
    assert "Running stage 'fit'" in shell("dvc repro")
    assert b'\\"rate\\": 3.0' in Path("model.safetensors").read_bytes()
    repair.main()
    assert capfd.readouterr().err == "repair: nothing is damaged\n"
    set_to("1e-5")
    assert "Stage 'fit' is cached" in shell("dvc repro")


def test_where_dvc_is_at_work_or_nothing_can_be_written_it_says_so_and_touches_nothing(monkeypatch):
    Path("dvc.lock").write_text("")
    with make_lock(".dvc/tmp/lock"), pytest.raises(PipelineError, match="DVC is at work here"):
        repair.main()
    Path(".dvc/tmp/lock").unlink()
    Path(".dvc/tmp/lock").mkdir()
    with pytest.raises(PipelineError, match=r"nothing can be mended: .*\.dvc/tmp/lock: Is a directory"):
        repair.main()
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", "/dev/null/dvc")
    with pytest.raises(PipelineError, match=r"nothing can be mended: /dev/null/dvc.*core.site_cache_dir"):
        repair.main()
    assert Path("dvc.lock").read_text() == ""


def test_a_user_without_a_name_is_told_to_take_one(monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    with pytest.raises(PipelineError, match=r"expected a user with a name.*`export USER=me`"):
        repair.main()
    monkeypatch.setenv("USER", "me")
    repair.main()
