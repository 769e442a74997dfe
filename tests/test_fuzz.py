"""Whatever a file holds, reading it gives a value or one of the project's own errors."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from stagecraft import checkpoint
from stagecraft.errors import PipelineError
from stages.lib import data, params

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import nn

DEFAULTS = yaml.safe_load(Path("params.yaml").read_text())
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
# The same cases in every run, without a time limit, since the machine may be busy.
many = settings(
    max_examples=100, derandomize=True, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
SETTINGS = {"lr": 0.1}
TENSORS = [torch.ones(1), torch.ones(1, 2), torch.ones(1).double()]
GOOD = checkpoint.encode({"weight": torch.ones(1, 2), "bias": torch.ones(1)}, SETTINGS)


@st.composite
def damaged(draw: st.DrawFn, contents: st.SearchStrategy[bytes]) -> bytes:
    """Some bytes set to others, and the end cut off."""
    content = bytearray(draw(contents))
    for position, byte in draw(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=5)):
        content[position % len(content)] = byte
    return bytes(content[: len(content) - draw(st.integers(0, 10**6) | st.just(0)) % len(content)])


def load(folder: Path, content: bytes) -> nn.Module:
    """The network that this content of a file gives."""
    path, network = folder / "a.safetensors", nn.Linear(2, 1)
    path.write_bytes(content)
    checkpoint.load(path, network, SETTINGS)
    return network


@many
@given(changes=st.dictionaries(st.sampled_from([*DEFAULTS]) | st.text(max_size=8), VALUES, max_size=4))
def test_settings_of_any_kind(changes: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(DEFAULTS | changes), encoding="utf-8")
    try:
        loaded = params.load(path)
    except PipelineError as error:
        # One message that names each bad key's value, on lines of readable length.
        assert len(str(error).splitlines()) <= len(changes) + 1
        return
    assert loaded.epochs >= 1 and 0 < loaded.lr < float("inf") and 0 <= loaded.momentum < 1
    assert changes.keys() <= DEFAULTS.keys()


@many
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@example(content=b"? {a: 1}\n: 2")
@example(content=b"a: 2024-99-99")
def test_settings_of_any_bytes(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(PipelineError):
        params.load(path)


@many
@given(content=damaged(st.lists(st.integers(0, 3), max_size=4).map(np.ones).map(np.uint8).map(data.encode_idx)))
def test_idx_files_with_any_damage(content: bytes) -> None:
    with suppress(PipelineError):
        assert data.decode_idx(content).dtype == np.uint8


@many
@given(content=damaged(st.just(GOOD)))
def test_checkpoints_with_any_damage(content: bytes, tmp_path: Path) -> None:
    with suppress(PipelineError):
        assert all(parameter.isfinite().all() for parameter in load(tmp_path, content).parameters())


TENSOR = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F64", "F8_E8M0", "F4", "BOOL", "U64", "C64", "X"]),
        "shape": st.lists(st.integers(0, 3) | st.sampled_from([2**31, 2**63 - 1, 2**64 - 1]), max_size=4),
        "data_offsets": st.lists(st.integers(0, 16), min_size=2, max_size=2) | st.just([0, 0]),
    }
)
METADATA = st.dictionaries(st.sampled_from(["settings", "x"]), st.text(max_size=9) | VALUES.map(repr) | VALUES)


@many
@given(
    header=st.dictionaries(st.sampled_from(["weight", "bias", "__metadata__"]), TENSOR | METADATA | VALUES) | VALUES,
    size=st.integers(0, 16),
)
def test_checkpoints_with_any_header(header: Any, size: int, tmp_path: Path) -> None:
    text = json.dumps(header, default=str).encode()
    with pytest.raises(PipelineError):
        load(tmp_path, len(text).to_bytes(8, "little") + text + bytes(size))


@many
@given(tensors=st.dictionaries(st.sampled_from(["weight", "bias", "x"]), st.sampled_from(TENSORS)), settings=VALUES)
def test_checkpoints_of_any_content(tensors: dict[str, torch.Tensor], settings: Any, tmp_path: Path) -> None:
    settings = json.loads(json.dumps(settings, default=str))  # dates, numbers as keys
    with pytest.raises(PipelineError):
        load(tmp_path, checkpoint.encode(tensors, settings))
