import re
from pathlib import Path

from stagecraft.errors import PipelineError
from stages.lib import params
from stages.lib.data import DATASETS

import pytest
import yaml

DEFAULTS = Path("params.yaml").read_text()
LINES = len(DEFAULTS.splitlines())


def load(folder: Path, text: str) -> params.Params:
    (folder / "params.yaml").write_text(text)
    return params.load(folder / "params.yaml")


def changed(line: str) -> str:
    """params.yaml with another line for a setting, whatever it is now."""
    key = line.split(":")[0]
    text, found = re.subn(rf"^{key}: .*$", lambda _: line, DEFAULTS, flags=re.MULTILINE)
    assert found == 1, f"params.yaml has no {key}"
    return text


def test_every_line_has_a_comment_and_every_setting_a_line() -> None:
    assert all("  # " in line for line in DEFAULTS.splitlines())
    assert yaml.safe_load(DEFAULTS).keys() == params.Params.model_fields.keys()


def test_numbers_that_yaml_takes_for_text_are_numbers(tmp_path: Path) -> None:
    assert load(tmp_path, changed("lr: 1e-3")).lr == 0.001


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("lr: 0", "lr: 0 is not a number above 0 and at most 1e38"),
        ("lr: .nan", "lr: .nan is not a number above 0 and at most 1e38"),
        ("lr: .inf", "lr: .inf is not"),
        ("lr: nan", "lr: nan is not"),
        ("lr: 1e39", "lr: 1e39 is not"),
        ("lr: fast", "lr: fast is not"),
        ("lr: true", "lr: true is not"),
        ("lr:", "lr: nothing is not"),
        ("lr: [0.1, 0.2]", r"lr: \['0.1', '0.2'\] is not"),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(tmp_path: Path, line: str, expected: str) -> None:
    with pytest.raises(PipelineError, match=expected):
        load(tmp_path, changed(line))


@pytest.mark.parametrize(
    "line",
    [
        "epochs: 0", "epochs: 1.5", "epochs: yes", "batch_size: -1", "momentum: 1.0", "validation_images: -1",
        "numerics: portable", "seed: 9223372036854775808", "model: Sequential", "device: gpu",
    ],
)  # fmt: skip
def test_out_of_range_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(PipelineError, match=f"{line.split(':')[0]}: .* is not "):
        load(tmp_path, changed(line))


def test_the_datasets_are_those_of_the_table(tmp_path: Path) -> None:
    for dataset in DATASETS:
        assert load(tmp_path, changed(f"dataset: {dataset}")).dataset == dataset
    with pytest.raises(PipelineError, match=f"dataset: cifar is not {' or '.join(DATASETS)}"):
        load(tmp_path, changed("dataset: cifar"))


def test_all_problems_come_in_one_message(tmp_path: Path) -> None:
    broken = changed("seed: x").replace("\nlr:", "\nlearning:").replace("epochs:", "epoch:")
    with pytest.raises(PipelineError) as caught:
        load(tmp_path, broken)
    for problem in ("lr is missing", "seed: x", "epoch is not a setting; did you mean epochs?", "learning is"):
        assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "holds nothing"),
        ("- lr", r"holds \['lr'\]"),
        ("lr: [", "not readable as YAML"),
        (DEFAULTS + "lr: 0.2\n", f"line {LINES + 1}: lr is set twice"),
        ("1: 2", "1 is not a setting;"),
        ("? [a]\n: 1", r"line 1: \['a'\] is not a setting's name"),
        ("x: &a 1\ny: *a", "expected no alias"),
        ("{a: " * 2_000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_settings_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(PipelineError, match=expected):
        load(tmp_path, text)


def test_keys_set_twice_are_named_with_the_other_problems_and_the_file_s_own_name(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(DEFAULTS.replace("\nlr:", "\nLR:") + "seed: 1\nepochs: 3\n")
    with pytest.raises(PipelineError) as caught:
        params.load(tmp_path / "other.yaml")
    assert str(caught.value).splitlines() == [
        f"{tmp_path}/other.yaml has settings that can't be used:",
        f"  line {LINES + 1}: seed is set twice; keep one of the lines",
        f"  line {LINES + 2}: epochs is set twice; keep one of the lines",
        "  lr is missing; expected a number above 0 and at most 1e38",
        "  LR is not a setting; did you mean lr?",
    ]


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"can't read .*: Is a directory; expected a file"):
        params.load(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="there is no"):
        params.load(tmp_path / "params.yaml")
