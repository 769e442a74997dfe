import json
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

from stagecraft import checkpoint
from stagecraft.errors import PipelineError

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import nn

SETTINGS = {"model": "tiny", "is_fast": False, "lr": 0.1}
WEIGHT = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def network(inputs: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 2), nn.ReLU(), nn.Linear(2, 2))


def with_header(header: str | dict[str, Any], numbers: bytes = b"") -> bytes:
    """A safetensors file by hand, from the description of the format."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return len(text).to_bytes(8, "little") + text + numbers


def with_metadata(metadata: dict[str, str] | None) -> bytes:
    return save(network().state_dict(), metadata)


def are_equal(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(*pair) for pair in zip(one.parameters(), other.parameters(), strict=True))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.safetensors"


def test_parameters_and_all_settings_come_back_once_saved_and_by_the_format_s_own_reader(path: Path) -> None:
    saved, loaded, read = network(), network(), network()
    with pytest.raises(PipelineError, match=r"can't read .*a\.safetensors: No such file"):
        checkpoint.load(path, loaded, SETTINGS)
    settings = SETTINGS | {"epochs": 3}
    checkpoint.save(path, saved, settings)
    assert checkpoint.load(path, loaded, SETTINGS) == settings
    assert are_equal(saved, loaded)
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["settings"]) == settings
    read.load_state_dict(load_file(path))
    assert are_equal(saved, read)


def test_tensors_of_any_layout_and_settings_to_the_last_bit() -> None:
    whole = torch.arange(6.0).view(2, 3)
    tensors = {"transposed": whole.T, "row": whole[1], "same": whole[1], "expanded": whole[:1].expand(4, 3)}
    tensors |= {"integer": torch.tensor(3), "empty": torch.empty(0, 2), "double": whole.double() / 3}
    settings = {"float": 0.1 + 0.2, "tiny": 5e-324, "list": [1, None, True, {"x": "ü\x1b"}]}
    found, read = checkpoint.decode(checkpoint.encode(tensors, settings), "a")
    assert read == settings
    assert list(found) == sorted(tensors)
    assert all(torch.equal(found[name], value) and found[name].dtype == value.dtype for name, value in tensors.items())


def test_the_bytes_depend_on_the_content_alone() -> None:
    # Another process has other hash seeds; and another order must not matter.
    code = "{name: torch.ones(2) for name in 'hgfedcba'}, {name: 1 for name in 'hgfedcba'}"
    program = f"import torch; from stagecraft import checkpoint; print(checkpoint.encode({code}))"
    here = checkpoint.encode(*eval(code.replace("hgfedcba", "abdchgfe")))
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == f"{here}\n"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        *((checkpoint.encode(network().state_dict(), SETTINGS)[:kept], "") for kept in (0, 1, 8, 100, -1)),
        (with_metadata(None), "no settings in its metadata, but {}"),
        (with_metadata({"format": "pt"}), "no settings in its metadata, but {'format': 'pt'}"),
        (with_metadata({"settings": "[1]"}), r"no settings in its metadata, but {'settings': '\[1\]'}"),
        (with_metadata({"settings": "lr: 0.1"}), "settings, in JSON, in its metadata, found .* Expecting value"),
        (with_metadata({"settings": "[" * 99_999}), "recursion"),
        (with_metadata({"settings": '{"lr": 1, "lr": 0.1}'}), "a name stands twice"),
        (with_header(f'{{"a": {json.dumps(WEIGHT)}, "a": {json.dumps(WEIGHT)}}}', bytes(4)), "a name stands twice"),
        (with_header({"a": WEIGHT | {"data_offsets": [4, 8]}}, bytes(8)), "invalid offset"),
        (with_header({"a": WEIGHT | {"dtype": "F4", "shape": [8]}}, bytes(4)), "found 72 bytes: 'F4'"),
        (with_header({"a": WEIGHT | {"shape": [0, 2**64 - 1], "data_offsets": [0, 0]}}), "Overflow"),
        (with_header({"a": WEIGHT | {"shape": [0, 2**33, 2**33], "data_offsets": [0, 0]}}), "overflow"),
        ((10_000_001).to_bytes(8, "little"), "a header of 10,000,001 where at most 10,000,000 are allowed"),
        (b"PK\3\4 an archive of torch.save", "a header of [0-9,]+ where"),
        (b"\xff" * 8, "a header of 18,446,744,073,709,551,615 where"),
        (with_header("[]"), "invalid JSON in header"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)  # fmt: skip
def test_a_file_that_was_cut_off_or_is_of_another_kind_is_refused(content: bytes, expected: str, path: Path) -> None:
    path.write_bytes(content)
    with pytest.raises(PipelineError, match=rf"a\.safetensors is damaged or not a .* expected a .*{expected}"):
        checkpoint.load(path, network(), SETTINGS)


@pytest.mark.parametrize(
    ("tensors", "settings", "expected"),
    [
        ({}, SETTINGS | {"lr": 0.2}, "lr: expected 0.1, found 0.2$"),
        ({}, {"model": "tiny", "is_fast": False}, "lr: expected 0.1, found None$"),
        ({}, SETTINGS | {"lr": "0.1"}, "lr: expected 0.1, found '0.1'$"),
        ({}, SETTINGS | {"is_fast": 0}, "is_fast: expected False, found 0$"),
        ({}, SETTINGS | {"lr": [1, {}]}, r"lr: expected 0.1, found \[1, {}\]$"),
        ({}, SETTINGS | {"lr": float("nan")}, "lr: expected 0.1, found nan$"),
        ({}, SETTINGS, "belongs to a different network"),
        (network(4).state_dict(), SETTINGS, r"different network.*\(2, 3\).*\(2, 4\)"),
        (network().double().state_dict(), SETTINGS, "different network.*float32.*float64"),
        (network().to(torch.float8_e5m2).state_dict(), SETTINGS, "different network.*float32.*float8_e5m2"),
        (network().state_dict() | {"more": torch.ones(1)}, SETTINGS, "different network.*more"),
        (network()[:2].state_dict(), SETTINGS, "different network"),
        (network().state_dict() | {"2.bias": torch.tensor([1, torch.nan])}, SETTINGS, r"NaN or inf.* in 2\.bias"),
        (network().state_dict() | {"2.bias": torch.tensor([torch.inf, 1])}, SETTINGS, r"NaN or inf.* in 2\.bias"),
    ],
)  # fmt: skip
def test_content_that_does_not_fit_is_refused(tensors: Any, settings: Any, expected: str, path: Path) -> None:
    path.write_bytes(checkpoint.encode(tensors, settings))
    target = network()
    before = deepcopy(target)
    with pytest.raises(PipelineError, match=f"(?s){expected}"):
        checkpoint.load(path, target, SETTINGS)
    assert are_equal(before, target)


def test_the_message_stays_short_and_printable(path: Path) -> None:
    names = [f"\x1b[31m{i}" for i in range(9_999)]
    for tensors, settings in (({}, dict.fromkeys(names, "x")), (dict.fromkeys(names, torch.ones(1)), SETTINGS)):
        path.write_bytes(checkpoint.encode(tensors, settings))
        with pytest.raises(PipelineError) as caught:
            checkpoint.load(path, network(), SETTINGS)
        assert len(str(caught.value)) < 3_000
        assert "\x1b" not in str(caught.value)
