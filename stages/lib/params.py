"""The settings of params.yaml: what each may be, and one message with everything that is wrong."""

import difflib
from pathlib import Path
from typing import Any, Literal, TypeVar

from stages.lib.data import DATASETS
from stages.lib.errors import PipelineError, short

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

Settings = TypeVar("Settings", bound=BaseModel)


class Initial(BaseModel):
    """The settings that shape the initial weights; the descriptions are what error messages quote."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    seed: int = Field(ge=0, lt=2**63, description="a whole number from 0 to 2^63 - 1")
    model: Literal["sequential", "ordered", "module", "functional", "convolutional"] = Field(
        description="sequential, ordered, module, functional or convolutional"
    )
    hidden_units: int = Field(ge=1, le=10_000, description="a whole number from 1 to 10,000")

    def initial(self) -> dict[str, str | int]:
        """The settings that shape the initial weights, by name."""
        return {name: getattr(self, name) for name in Initial.model_fields}


class Training(Initial):
    """The settings that shape the trained weights: a training that is resumed, and what reads them, must have these."""

    dataset: Literal[*DATASETS] = Field(description=" or ".join(DATASETS))  # type: ignore[valid-type]
    batch_size: int = Field(ge=1, le=60_000, description="a whole number from 1 to 60,000")
    validation_images: int = Field(ge=0, lt=60_000, description="a whole number from 0 to 59,999")
    epochs: int = Field(ge=1, le=10_000, description="a whole number from 1 to 10,000")
    lr: float = Field(gt=0, le=1e38, description="a number above 0 and at most 1e38")  # float32 ends at 3.4e38
    momentum: float = Field(ge=0, lt=1, description="a number from 0 to below 1")
    numerics: Literal["exact", "native"] = Field(description="exact or native")
    device: Literal["cpu", "cuda", "mps"] = Field(description="cpu, cuda or mps")

    def training(self) -> dict[str, str | int | float]:
        """The settings that shape the trained weights, by name."""
        return {name: getattr(self, name) for name in Training.model_fields}

    def network(self) -> dict[str, str | int]:
        """The settings without which trained weights can't be used, by name."""
        return {name: getattr(self, name) for name in ("dataset", "model", "hidden_units", "numerics")}

    def training_images(self, total: int) -> int:
        """How many of `total` images are left to train on; raises PipelineError if there are none."""
        if self.validation_images >= total:
            raise PipelineError(
                f"validation_images: expected fewer than the {total:,} training images, found "
                f"{self.validation_images:,}, which leaves none to train on; set it to {total // 6:,}, say"
            )
        return total - self.validation_images


class Params(Training):
    """Every setting of the pipeline; params.yaml holds the values."""

    row_images: int = Field(ge=1, le=20, description="a whole number from 1 to 20")
    images_per_class: int = Field(ge=1, le=20, description="a whole number from 1 to 20")
    mistakes: int = Field(ge=1, le=60, description="a whole number from 1 to 60")


class _Loader(yaml.BaseLoader):
    """Reads every value as text, which pydantic turns into a number or refuses; notes what is wrong with the keys.

    YAML's own numbers would surprise: PyYAML takes `1e-3` for text, `yes` for true and `1:30` for 90.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.problems: list[str] = []

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):  # a few lines of them can stand for gigabytes
            raise yaml.composer.ComposerError(None, None, "expected no alias", self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if not isinstance(key, str):
                self.problems.append(f"line {line}: {short(key)} is not a setting's name")
            elif key in mapping:
                self.problems.append(f"line {line}: {short(key)} is set twice; keep one of the lines")
            else:
                mapping[key] = self.construct_object(value_node, deep=True)
        return mapping


def load(path: str | Path = "params.yaml") -> Params:
    """Read and check every setting of the pipeline; raises PipelineError as `read` does."""
    return read(path, Params)


def read(path: str | Path, schema: type[Settings]) -> Settings:
    """Read and check the settings of a file; each field of `schema` has a description of what is allowed.

    Raises PipelineError, naming all problems at once: each with the key, the value found and what is allowed.
    """
    values, problems = texts(Path(path))
    problems += problems_of(values, schema)
    if problems:
        raise unusable(path, problems)
    return schema.model_validate(values)


def problems_of(values: dict[str, Any], schema: type[BaseModel]) -> list[str]:
    """A line for each value that `schema` does not allow."""
    try:
        schema.model_validate(values)
    except ValidationError as error:
        return [_explain(problem, schema) for problem in error.errors()]
    return []


def unusable(path: str | Path, problems: list[str]) -> PipelineError:
    """The error that names all problems of a file at once."""
    return PipelineError("\n  ".join([f"{path} has settings that can't be used:", *problems]))


def texts(path: Path, content: bytes | None = None) -> tuple[dict[str, Any], list[str]]:
    """The values by key, as text, and what is wrong with the keys; raises PipelineError if the file is no YAML.

    content: what the file holds, or held in a commit; None reads it.
    """
    try:
        loader = _Loader((path.read_bytes() if content is None else content).decode("utf-8"))
        values = loader.get_single_data()
    except FileNotFoundError:
        raise PipelineError(f"there is no {path} here; run from the project's root, or `git checkout {path}`") from None
    except OSError as error:
        raise PipelineError(f"can't read {path}: {error.strerror}; expected a file, `git checkout {path}`") from None
    except RecursionError:
        raise PipelineError(f"{path} is nested too deeply; expected lines like `lr: 0.1`") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PipelineError(f"{path} is not readable as YAML; expected lines like `lr: 0.1`. {error}") from None
    if not isinstance(values, dict):
        raise PipelineError(f"{path} should hold lines like `lr: 0.1`, but holds {short(values)}")
    return values, loader.problems


def check_keys(path: str | Path, content: bytes) -> None:
    """Raise PipelineError unless the content of a file of settings is YAML with lines like `lr: 0.1`, each key once."""
    if problems := texts(Path(path), content)[1]:
        raise unusable(path, problems)


def _explain(problem: Any, schema: type[BaseModel]) -> str:
    """One line for one of pydantic's problems: key, value, what is allowed."""
    key = str(problem["loc"][0])
    if problem["type"] == "missing":
        return f"{key} is missing; expected {schema.model_fields[key].description}"
    if problem["type"] == "extra_forbidden":
        nearest = difflib.get_close_matches(key.lower(), schema.model_fields, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"the settings are {', '.join(schema.model_fields)}"
        return f"{short(key)} is not a setting; {hint}"
    return f"{key}: {short(problem['input'])} is not {schema.model_fields[key].description}"


if __name__ == "__main__":  # `make repro` refuses bad settings even where no stage has to run
    load()
