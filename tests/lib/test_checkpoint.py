import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

from stages.lib import checkpoint
from stages.lib.errors import PipelineError

import pytest
import torch
from torch import nn

SETTINGS = {"model": "tiny", "lr": 0.1}


def network(inputs: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 2), nn.ReLU(), nn.Linear(2, 2))


class Attack:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("code was run",)


def test_round_trip_and_the_same_bytes_under_another_name(tmp_path: Path) -> None:
    saved, loaded = network(), network()
    for name in ("a.pt", "another name.pt"):
        checkpoint.save(tmp_path / name, saved, SETTINGS)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "another name.pt").read_bytes()
    checkpoint.load(tmp_path / "a.pt", loaded, SETTINGS)
    assert all(torch.equal(*pair) for pair in zip(saved.parameters(), loaded.parameters(), strict=True))


@pytest.mark.parametrize(
    ("encode", "expected"),
    [
        (pickle.dumps, "not a checkpoint: expected a whole archive"),
        (checkpoint.encode, r"a\.pt holds more than tensors, strings and numbers"),
    ],
)
def test_code_is_refused_and_not_run(
    encode: Any, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.pt").write_bytes(encode({"settings": SETTINGS, "state": Attack()}))
    with pytest.raises(PipelineError, match=expected):
        checkpoint.load(tmp_path / "a.pt", network(), SETTINGS)
    assert "code was run" not in capsys.readouterr().out


@pytest.mark.parametrize("kept", [0, 1, 500, -1])
def test_a_truncated_file_is_refused(kept: int, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "a.pt", network(), SETTINGS)
    content = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(content[:kept])
    with pytest.raises(PipelineError, match=r"a\.pt is damaged or not a checkpoint"):
        checkpoint.load(tmp_path / "a.pt", network(), SETTINGS)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([1], "expected a dict, found list"),
        ({"state": {}}, r"expected settings and state, found \['state'\]"),
        ({"settings": {}, "state": [1]}, "expected settings and state"),
        ({"settings": SETTINGS | {"lr": 0.2}, "state": {}}, "lr: expected 0.1, found 0.2"),
        ({"settings": {"model": "tiny"}, "state": {}}, "lr: expected 0.1, found None"),
        ({"settings": SETTINGS | {"epochs": 3}, "state": {}}, "epochs: expected None, found 3"),
        ({"settings": SETTINGS | {"lr": torch.ones(3)}, "state": {}}, r"lr: expected 0.1, found tensor"),
        ({"settings": SETTINGS | {"x" * 999: "y" * 999}, "state": {}}, r"x\.\.\.: expected None, found 'yyy"),
        ({"settings": SETTINGS, "state": {}}, "belongs to a different network"),
        ({"settings": SETTINGS, "state": network(4).state_dict()}, r"different network.*\(2, 3\).*\(2, 4\)"),
        ({"settings": SETTINGS, "state": network().double().state_dict()}, "different network.*float32.*float64"),
        ({"settings": SETTINGS, "state": {name: 1 for name in network().state_dict()}}, "different network.*int"),
    ],
)  # fmt: skip
def test_content_that_does_not_fit_is_refused(content: object, expected: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pt")
    target = network()
    before = [parameter.clone() for parameter in target.parameters()]
    with pytest.raises(PipelineError, match=re.compile(expected, re.DOTALL)):
        checkpoint.load(tmp_path / "a.pt", target, SETTINGS)
    assert all(torch.equal(*pair) for pair in zip(before, target.parameters(), strict=True))


def test_no_flipped_bit_changes_a_parameter(tmp_path: Path) -> None:
    saved, path, refused = network(), tmp_path / "a.pt", 0
    checkpoint.save(path, saved, SETTINGS)
    whole = path.read_bytes()
    for position in range(0, len(whole), 29):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        loaded = network()
        try:
            checkpoint.load(path, loaded, SETTINGS)
        except PipelineError:
            refused += 1
        else:  # in the padding between the entries
            assert all(torch.equal(*pair) for pair in zip(saved.parameters(), loaded.parameters(), strict=True))
    assert refused > 30


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(2**24))
    with pytest.raises(PipelineError, match="is damaged or not a checkpoint"):
        checkpoint.load(tmp_path / "a.pt", network(), SETTINGS)


def test_the_message_stays_short_and_printable(tmp_path: Path) -> None:
    torch.save({"settings": {f"\x1b[31m{i}": "x" for i in range(9_999)}, "state": {}}, tmp_path / "a.pt")
    with pytest.raises(PipelineError) as caught:
        checkpoint.load(tmp_path / "a.pt", network(), SETTINGS)
    assert len(str(caught.value)) < 3_000
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_parameters_that_are_no_numbers_are_refused(value: float, tmp_path: Path) -> None:
    broken = network()
    with torch.no_grad():
        broken[2].bias[1] = value
    checkpoint.save(tmp_path / "a.pt", broken, SETTINGS)
    with pytest.raises(PipelineError, match=r"NaN or infinite values in 2\.bias"):
        checkpoint.load(tmp_path / "a.pt", network(), SETTINGS)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"can't read .*a\.pt: No such file"):
        checkpoint.load(tmp_path / "a.pt", network(), SETTINGS)
