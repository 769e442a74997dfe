"""Settings in a YAML file, checked against a schema, with one message that names everything that is wrong."""

import difflib
from pathlib import Path
from typing import Any, TypeVar

from stagecraft.errors import PipelineError, short

import yaml
from pydantic import BaseModel, ValidationError

Settings = TypeVar("Settings", bound=BaseModel)


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
