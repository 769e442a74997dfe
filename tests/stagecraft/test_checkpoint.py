import json
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

from stagecraft import checkpoint
from stagecraft.checkpoint import encode
from stagecraft.errors import PipelineError

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

SETTINGS = {"model": "tiny", "is_fast": False, "lr": 0.1}
WEIGHT = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def network(inputs: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 2), nn.ReLU(), nn.Linear(2, 2))


def with_header(header: str | dict[str, Any], numbers: bytes = b"") -> bytes:
    """A safetensors file by hand, from the description of the format."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return len(text).to_bytes(8, "little") + text + numbers


GOOD = encode(network().state_dict(), SETTINGS)
INFINITE = {"0.bias": torch.tensor([1, torch.nan]), "2.bias": torch.tensor([torch.inf, 1])}


def are_equal(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(*pair) for pair in zip(one.parameters(), other.parameters(), strict=True))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.safetensors"


def test_parameters_and_all_settings_come_back_once_saved(path: Path) -> None:
    saved, loaded, settings = network(), network(), SETTINGS | {"epochs": 3}
    with pytest.raises(PipelineError, match=r"can't read .*a\.safetensors: No such file"):
        checkpoint.load(path, loaded, SETTINGS)
    checkpoint.save(path, saved, settings)
    assert checkpoint.load(path, loaded, SETTINGS) == settings
    assert are_equal(saved, loaded)


def test_tensors_of_any_layout_and_settings_to_the_last_bit_also_by_the_format_s_own_reader(path: Path) -> None:
    whole = torch.arange(6.0).view(2, 3)
    tensors = {"transposed": whole.T, "row": whole[1], "same": whole[1], "expanded": whole[:1].expand(4, 3)}
    tensors |= {"integer": torch.tensor(3), "empty": torch.empty(0, 2), "double": whole.double() / 3}
    settings = {"float": 0.1 + 0.2, "tiny": 5e-324, "list": [1, None, True, {"x": "ü\x1b"}]}
    path.write_bytes(encode(tensors, settings))
    found, read = checkpoint.decode(path.read_bytes(), "a")
    assert list(found) == sorted(tensors)
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["settings"]) == read == settings
        for name, value in tensors.items():
            torch.testing.assert_close([found[name], file.get_tensor(name)], [value, value], rtol=0, atol=0)


def test_the_bytes_depend_on_the_content_alone() -> None:
    # Another process has other hash seeds; and another order must not matter.
    code = "{name: torch.ones(2) for name in 'hgfedcba'}, {name: 1 for name in 'hgfedcba'}"
    program = f"import torch; from stagecraft import checkpoint; print(checkpoint.encode({code}))"
    here = encode(*eval(code.replace("hgfedcba", "abdchgfe")))
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == f"{here}\n"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        *((GOOD[:kept], r"a\.safetensors is damaged or not a .* expected a safetensors file") for kept in (0, 8, -1)),
        (save({}, None), "no settings in its metadata, but {}"),
        (save({}, {"settings": "[1]"}), r"no settings in its metadata, but {'settings': '\[1\]'}"),
        (save({}, {"settings": "[" * 99_999}), "recursion"),
        (save({}, {"settings": '{"lr": 1, "lr": 0.1}'}), "a name stands twice"),
        (with_header(f'{{"a": {json.dumps(WEIGHT)}, "a": {json.dumps(WEIGHT)}}}', bytes(4)), "a name stands twice"),
        (with_header({"a": WEIGHT | {"dtype": "F4", "shape": [8]}}, bytes(4)), "found 72 bytes: 'F4'"),
        (with_header({"a": WEIGHT | {"shape": [0, 2**64 - 1], "data_offsets": [0, 0]}}), "Overflow"),
        (with_header({"a": WEIGHT | {"shape": [0, 2**33, 2**33], "data_offsets": [0, 0]}}), "overflow"),
        ((10_000_001).to_bytes(8, "little"), "a header of 10,000,001 where at most 10,000,000 are allowed"),
        (encode({}, {"model": "tiny", "is_fast": False}), "lr: expected 0.1, found None$"),
        (encode({}, SETTINGS | {"lr": "0.1"}), "lr: expected 0.1, found '0.1'$"),
        (encode({}, SETTINGS | {"is_fast": 0}), "is_fast: expected False, found 0$"),
        (encode(network(4).state_dict(), SETTINGS), r"belongs to a different network.*\(2, 3\).*\(2, 4\)"),
        (encode(network().double().state_dict(), SETTINGS), "different network.*float32.*float64"),
        (encode(network().state_dict() | {"more": torch.ones(1)}, SETTINGS), "different network.*more"),
        (encode(network()[:2].state_dict(), SETTINGS), "different network"),
        (encode(network().state_dict() | INFINITE, SETTINGS), r"NaN or infinite values in 0\.bias, 2\.bias;"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_is_damaged_or_of_another_kind_or_does_not_fit_is_refused(content: bytes, expected: str, path: Path):
    path.write_bytes(content)
    target = network()
    before = deepcopy(target)
    with pytest.raises(PipelineError, match=f"(?s){expected}"):
        checkpoint.load(path, target, SETTINGS)
    assert are_equal(before, target)


def test_the_message_stays_short_and_printable(path: Path) -> None:
    names = [f"\x1b[31m{i}" for i in range(9_999)]
    for tensors, settings in (({}, dict.fromkeys(names, "x")), (dict.fromkeys(names, torch.ones(1)), SETTINGS)):
        path.write_bytes(encode(tensors, settings))
        with pytest.raises(PipelineError) as caught:
            checkpoint.load(path, network(), SETTINGS)
        assert len(str(caught.value)) < 3_000
        assert "\x1b" not in str(caught.value)
