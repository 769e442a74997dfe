from pathlib import Path

from stagecraft import output, tables
from stagecraft.errors import PipelineError

import pandas
import pytest


def test_what_was_written_reads_back_equal_and_what_is_missing_is_named(tmp_path: Path) -> None:
    table = pandas.DataFrame({"epoch": [1, 2], "train_loss": [0.1 + 0.2, 1e-17], "note": ["a", "b"]})
    output.write_csv(tmp_path / "a.csv", table)
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,train_loss,note\n1,0.30000000000000004,a\n2,1e-17,b\n"
    pandas.testing.assert_frame_equal(tables.read(tmp_path / "a.csv", ["epoch", "train_loss"]), table, check_exact=True)
    with pytest.raises(PipelineError, match=r"can't read .*b\.csv: No such file"):
        tables.read(tmp_path / "b.csv", ["epoch"])


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "No columns to parse"),
        (b"epoch,train_loss\n", "no row"),
        (b"epoch,loss\n1,0.5\n", "train_loss"),
        (b"epoch,train_loss\n1,abc\n", "could not convert string to float"),
        (b"epoch,train_loss\n1,nan\n", "values that are not finite"),
        (b"epoch,train_loss\n1,inf\n", "values that are not finite"),
        (b"\xff\xfe\x00\x01", "codec can't decode"),
    ],
)
def test_what_is_no_such_table_is_refused(content: bytes, found: str) -> None:
    expected = rf"a\.csv should have numbers in the columns epoch, train_loss, but: .*{found}.*; `make repair` \("
    with pytest.raises(PipelineError, match=expected):
        tables.parse(content, "a.csv", ["epoch", "train_loss"])
