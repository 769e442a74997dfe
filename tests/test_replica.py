"""The place where two results differ."""

from pathlib import Path

from tests import replica

import pytest


@pytest.mark.parametrize(
    "before, now, where",
    [
        (b"epoch,loss\n1,0.25\n", b"epoch,loss\n1,0.26\n", r"differs: line 2 should be '1,0.25\n', is '1,0.26\n'"),
        (b"epoch\n1\n", b"epoch\r\n1\r\n", r"differs: line 1 should be 'epoch\n', is 'epoch\r\n'"),
        (b"epoch\n1\n", b"epoch\n1\n2\n", r"differs: line 3 should be 'the end', is '2\n'"),
        (b"\x89PNG\x00", b"\x89PNG", "differs: byte 4 of 5 should be 00, is the end"),
        (b"", None, "is only in one"),
        (None, b"", "is only in two"),
    ],
)
def test_the_first_difference_is_named_with_its_file(
    before: bytes | None, now: bytes | None, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, content in (Path("one"), before), (Path("two"), now):
        (folder / "plots/deep").mkdir(parents=True)
        (folder / "plots/a").write_bytes(b"same")
        if content is not None:
            (folder / "plots/deep/b").write_bytes(content)
    assert replica.difference(Path("one"), Path("two")) == f"plots/deep/b {where}"
