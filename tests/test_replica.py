"""The place where two results differ."""

from pathlib import Path

from tests import replica
from tools import outputs

import pytest


@pytest.mark.parametrize(
    "before, now, where",
    [
        (b"epoch,loss\n1,0.25\n", b"epoch,loss\n1,0.26\n", r"line 2 should be '1,0.25\n', is '1,0.26\n'"),
        (b"epoch\n1\n", b"epoch\r\n1\r\n", r"line 1 should be 'epoch\n', is 'epoch\r\n'"),
        (b"epoch\n1\n", b"epoch\n1\n2\n", r"line 3 should be 'the end', is '2\n'"),
        (b"\x89PNG\x00\x01\x02", b"\x89PNG\x00\x09\x02", "byte 5 of 7 should be 01, is 09"),
        (b"\x89PNG\x00", b"\x89PNG", "byte 4 of 5 should be 00, is the end"),
    ],
)
def test_first_difference_of_a_file(before: bytes, now: bytes, where: str) -> None:
    assert outputs.first_difference(before, now) == where


def test_first_difference_in_a_folder_names_the_file(tmp_path: Path) -> None:
    for folder, content in (("one", b"\x00\x01"), ("two", b"\x00\x81")):
        (tmp_path / folder / "raw/deep").mkdir(parents=True)
        (tmp_path / folder / "raw/a").write_bytes(b"same")
        (tmp_path / folder / "raw/deep/b").write_bytes(content)
    for path in ("raw", "raw/deep/b"):
        found = replica.first_difference(tmp_path / "one", tmp_path / "two", path)
        assert found == "raw/deep/b differs: byte 1 of 2 should be 01, is 81"
    (tmp_path / "two/raw/deep/b").write_bytes(b"\x00\x01")
    (tmp_path / "two/raw/c").write_bytes(b"")
    found = replica.first_difference(tmp_path / "one", tmp_path / "two", "raw")
    assert found == "raw differs: it has other files"
