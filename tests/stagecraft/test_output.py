import math
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from stagecraft import output
from stagecraft.errors import PipelineError

import pytest


def test_json_is_sorted_and_reads_back_equal_and_has_no_number_that_json_has_not(tmp_path: Path) -> None:
    path = tmp_path / "new/a.json"
    with pytest.raises(ValueError, match="not JSON compliant"):
        output.write_json(path, {"loss": math.nan})
    assert not list(tmp_path.iterdir())
    output.write_json(path, {"b": 0.1 + 0.2, "a": [1, 2]})
    assert path.read_bytes() == b'{\n  "a": [\n    1,\n    2\n  ],\n  "b": 0.30000000000000004\n}\n'


def test_a_failed_write_is_told_and_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch) -> None:
    output.write_text(tmp_path / "a", "old")
    monkeypatch.setattr("os.fsync", lambda _: os.fstat(-1))
    with pytest.raises(PipelineError, match=r"can't write .*a: Bad file descriptor"):
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
