"""What the sweep compares: the settings of sweep/params.yaml in place of those of params.yaml."""

from collections import Counter
from itertools import product
from typing import Any

from stagecraft import configuration
from stages.lib import params
from stages.lib.params import Params

from pydantic import BaseModel, ConfigDict, Field

PATH = "sweep/params.yaml"
# They shape training, too, but have lines of their own or are the same for all.
FIXED = {"dataset", "device", "seed", "validation_images"}

Candidate = dict[str, Any]  # the settings that vary, by name


class Grid(BaseModel):
    """The values of each setting that varies; all else is as in the pipeline's own params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    grid: dict[str, list[Any]] = Field(min_length=1, description="lines like `lr: [0.1, 0.2]`")
    seeds: int = Field(ge=2, le=100, description="a whole number from 2 to 100")
    validation_images: int = Field(ge=1, lt=60_000, description="a whole number from 1 to 59,999")


def load() -> tuple[list[Candidate], list[list[Params]]]:
    """The candidates, and for each its settings with every seed.

    Raises PipelineError, naming all problems at once, for what params.yaml would not allow.
    """
    base, sweep = params.load(), configuration.read(PATH, Grid)
    if problems := [problem for name, values in sweep.grid.items() for problem in _problems(base, name, values)]:
        raise configuration.unusable(PATH, problems)
    settings = [
        [
            Params.model_validate(
                base.model_dump()
                | dict(zip(sweep.grid, values, strict=True))
                | {"seed": seed, "validation_images": sweep.validation_images}
            )
            for seed in range(sweep.seeds)
        ]
        for values in product(*sweep.grid.values())
    ]
    return [{name: getattr(models[0], name) for name in sweep.grid} for models in settings], settings


def _problems(base: Params, name: str, values: list[Any]) -> list[str]:
    """What is wrong with one setting of the grid."""
    allowed = [key for key in base.training() if key not in FIXED]
    if name not in allowed:
        return [f"grid: {name} can't vary; expected one of {', '.join(allowed)}"]
    if not values:
        return [f"grid: {name} has no value; expected one or more"]
    if problems := [
        problem for value in values for problem in configuration.problems_of(_changed(base, name, value), Params)
    ]:
        return problems
    meant = [getattr(Params.model_validate(_changed(base, name, value)), name) for value in values]
    return [f"grid: {name} has {value} twice; keep one" for value, times in Counter(meant).items() if times > 1]


def _changed(base: Params, name: str, value: Any) -> dict[str, Any]:
    return base.model_dump() | {name: value}
