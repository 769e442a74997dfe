import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from stagecraft import output
from stagecraft.errors import PipelineError

import pandas
import pytest


def test_json_is_sorted_and_reads_back_equal(tmp_path: Path) -> None:
    output.write_json(tmp_path / "new/folder.json", {"b": 0.1 + 0.2, "a": [1, 2]})
    assert (tmp_path / "new/folder.json").read_bytes() == (
        b'{\n  "a": [\n    1,\n    2\n  ],\n  "b": 0.30000000000000004\n}\n'
    )


def test_json_refuses_what_json_has_no_number_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        output.write_json(tmp_path / "a.json", {"loss": math.nan})
    assert not list(tmp_path.iterdir())


def test_csv_has_unix_line_ends_and_reads_back_equal(tmp_path: Path) -> None:
    output.write_csv(tmp_path / "a.csv", pandas.DataFrame({"epoch": [1, 2], "train_loss": [1 / 3, 1e-17]}))
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,train_loss\n1,0.3333333333333333\n2,1e-17\n"


def test_a_failed_write_is_told_and_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output.write_text(tmp_path / "a", "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(PipelineError, match=r"can't write .*a: No space left on device"):
        output.write_text(tmp_path / "a", "new")
    with pytest.raises(PipelineError, match=r"can't write .*a/b: (Not a directory|File exists)"):
        output.write_text(tmp_path / "a/b", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "old")]


def test_two_processes_that_write_the_same_file_leave_one_whole(tmp_path: Path) -> None:
    contents = [bytes([letter]) * 400_000 for letter in b"ab"]
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(output.write_bytes, [tmp_path / "a"] * 20, contents * 10))
    assert (tmp_path / "a").read_bytes() in contents
    assert len(list(tmp_path.iterdir())) == 1
