import re
from pathlib import Path
from typing import get_args

from stagecraft import configuration
from stagecraft.errors import PipelineError
from stages.lib import params
from stages.lib.data import DATASETS

import pytest
import yaml
from pydantic import Field

DEFAULTS = Path("params.yaml").read_text()
LINES = len(DEFAULTS.splitlines())


def load(folder: Path, text: str) -> params.Params:
    (folder / "params.yaml").write_text(text)
    return params.load(folder / "params.yaml")


def changed(line: str) -> str:
    """params.yaml with another line for a setting, whatever it is now."""
    return re.sub(rf"^{line.split(':')[0]}: .*$", lambda _: line, DEFAULTS, flags=re.MULTILINE)


def test_every_line_has_a_comment_every_setting_a_line_and_every_dataset_an_entry_in_the_table() -> None:
    assert all("  # " in line for line in DEFAULTS.splitlines())
    assert yaml.safe_load(DEFAULTS).keys() == params.Params.model_fields.keys()
    assert get_args(params.Params.model_fields["dataset"].annotation) == tuple(DATASETS)


def test_numbers_that_yaml_takes_for_text_are_numbers(tmp_path: Path) -> None:
    assert load(tmp_path, changed("lr: 1e-3")).lr == 0.001


@pytest.mark.parametrize(
    "line",
    [
        "lr: 0", "lr: nan", "lr: 1e39", "lr: true", "lr: nothing", "lr: ['1', '2']", "epochs: 0", "epochs: 1.5",
        "batch_size: -1", "momentum: 1.0", "validation_images: -1", "seed: 9223372036854775808", "model: Sequential",
    ],
)  # fmt: skip
def test_a_bad_value_is_named_with_what_is_allowed(tmp_path: Path, line: str) -> None:
    allowed = params.Params.model_fields[line.split(":")[0]].description
    with pytest.raises(PipelineError, match=re.escape(f"{line} is not {allowed}")):
        load(tmp_path, changed(line.replace("nothing", "")))


def test_a_setting_of_one_s_own_is_finite_whatever_its_bounds(tmp_path: Path) -> None:
    class Own(params.Params):
        decay: float = Field(ge=0, description="a number from 0")

    (tmp_path / "own.yaml").write_text(f"{DEFAULTS}decay: inf\n")
    with pytest.raises(PipelineError, match="decay: inf is not a number from 0"):
        configuration.read(tmp_path / "own.yaml", Own)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- lr", r"holds \['lr'\]"),
        ("lr: [", "not readable as YAML"),
        ("? [a]\n: 1", r"line 1: \['a'\] is not a setting's name"),
        ("x: &a 1\ny: *a", "expected no alias"),
        ("{a: " * 2_000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_settings_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(PipelineError, match=expected):
        load(tmp_path, text)


def test_all_problems_come_in_one_message_under_the_file_s_own_name(tmp_path: Path) -> None:
    broken = changed("seed: x").replace("\nlr:", "\nLR:").replace("\nepochs:", "\nlearning:")
    (tmp_path / "other.yaml").write_text(f"{broken}batch_size: 1\nmomentum: 0\n")
    with pytest.raises(PipelineError) as caught:
        params.load(tmp_path / "other.yaml")
    header, *lines = str(caught.value).splitlines()
    assert header == f"{tmp_path}/other.yaml has settings that can't be used:"
    assert sorted(lines) == [
        "  LR is not a setting; did you mean lr?",
        "  epochs is missing; expected a whole number from 1 to 10,000",
        f"  learning is not a setting; the settings are {', '.join(params.Params.model_fields)}",
        f"  line {LINES + 1}: batch_size is set twice; keep one of the lines",
        f"  line {LINES + 2}: momentum is set twice; keep one of the lines",
        "  lr is missing; expected a number above 0 and at most 1e38",
        "  seed: x is not a whole number from 0 to 2^63 - 1",
    ]


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"can't read .*: Is a directory; expected a file"):
        params.load(tmp_path)
    with pytest.raises(PipelineError, match="there is no"):
        params.load(tmp_path / "params.yaml")
