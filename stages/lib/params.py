"""The settings of params.yaml: what each may be, and one message with everything that is wrong."""

import difflib
from pathlib import Path
from typing import Any, Literal, TypeVar

from stages.lib.errors import PipelineError

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

Settings = TypeVar("Settings", bound=BaseModel)


class Params(BaseModel):
    """Every setting of the pipeline. The descriptions are what error messages quote; params.yaml holds the values."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    dataset: Literal["mnist", "digits"] = Field(description="mnist or digits")
    seed: int = Field(ge=0, lt=2**63, description="a whole number from 0 to 2^63 - 1")
    model: Literal["sequential", "ordered", "module", "functional"] = Field(
        description="sequential, ordered, module or functional"
    )
    hidden_units: int = Field(ge=1, le=10_000, description="a whole number from 1 to 10,000")
    batch_size: int = Field(ge=1, le=60_000, description="a whole number from 1 to 60,000")
    epochs: int = Field(ge=1, le=10_000, description="a whole number from 1 to 10,000")
    lr: float = Field(gt=0, description="a finite number above 0")
    momentum: float = Field(ge=0, lt=1, description="a number from 0 to below 1")
    numerics: Literal["portable", "native"] = Field(description="portable or native")
    device: Literal["cpu", "cuda", "mps"] = Field(description="cpu, cuda or mps")
    row_images: int = Field(ge=1, le=20, description="a whole number from 1 to 20")
    images_per_class: int = Field(ge=1, le=20, description="a whole number from 1 to 20")
    mistakes: int = Field(ge=1, le=60, description="a whole number from 1 to 60")

    def initial(self) -> dict[str, str | int]:
        """The settings that shape the initial weights."""
        return {"model": self.model, "hidden_units": self.hidden_units, "seed": self.seed}

    def training(self) -> dict[str, str | int | float]:
        """The settings that shape the trained weights."""
        return self.initial() | {
            "dataset": self.dataset,
            "batch_size": self.batch_size,
            "epochs": self.epochs,
            "lr": self.lr,
            "momentum": self.momentum,
            "numerics": self.numerics,
            "device": self.device,
        }


class _UniqueKeyLoader(yaml.BaseLoader):
    """Reads every value as text, which pydantic turns into a number or refuses, and refuses a key that comes twice.

    YAML's own numbers would surprise: PyYAML takes `1e-3` for text, `yes` for true and `1:30` for 90.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise PipelineError(f"params.yaml, line {line}: {key!r} is not a setting's name")
            if key in mapping:
                raise PipelineError(f"params.yaml, line {line}: {key} is set twice; keep one of the lines")
            mapping[key] = self.construct_object(value_node, deep=True)
        return mapping


def load(path: str | Path = "params.yaml") -> Params:
    """Read and check every setting of the pipeline; raises PipelineError as `read` does."""
    return read(path, Params)


def read(path: str | Path, schema: type[Settings]) -> Settings:
    """Read and check the settings of a file; each field of `schema` has a description of what is allowed.

    Raises PipelineError, naming all problems at once: each with the key, the value found and what is allowed.
    """
    values = _read(Path(path))
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        problems = "\n".join(f"  {_explain(problem, schema)}" for problem in error.errors())
        raise PipelineError(f"{path} has settings that can't be used:\n{problems}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeyLoader)
    except FileNotFoundError:
        raise PipelineError(f"there is no {path} here; run from the project's root, or `git checkout {path}`") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PipelineError(f"{path} is not readable as YAML; expected lines like `lr: 0.1`. {error}") from None
    if not isinstance(values, dict):
        raise PipelineError(f"{path} should hold lines like `lr: 0.1`, but holds {_short(values)}")
    return values


def _explain(problem: Any, schema: type[BaseModel]) -> str:
    """One line for one of pydantic's problems: key, value, what is allowed."""
    key = str(problem["loc"][0])
    if problem["type"] == "missing":
        return f"{key} is missing; expected {schema.model_fields[key].description}"
    if problem["type"] == "extra_forbidden":
        nearest = difflib.get_close_matches(key, schema.model_fields, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"the settings are {', '.join(schema.model_fields)}"
        return f"{_short(key)} is not a setting; {hint}"
    return f"{key}: {_short(problem['input'])} is not {schema.model_fields[key].description}"


def _short(value: Any) -> str:
    text = "nothing" if value in (None, "") else str(value)
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= 60 else f"{text[:57]}..."
