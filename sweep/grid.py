"""The settings of sweep/params.yaml: which learning rates and momenta to compare, and with how many seeds."""

from itertools import product
from typing import Annotated

from stages.lib.errors import PipelineError
from stages.lib.params import read

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _distinct(values: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(values)) < len(values):
        raise ValueError("a value occurs twice")
    return values


class Grid(BaseModel):
    """What is compared. All else (dataset, model, epochs, ...) is as in the pipeline's own params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    lrs: Annotated[tuple[Annotated[float, Field(gt=0, le=1e38)], ...], AfterValidator(_distinct)] = Field(
        min_length=1, max_length=20, description="1 to 20 different numbers above 0 and at most 1e38, as in [0.1, 0.2]"
    )
    momenta: Annotated[tuple[Annotated[float, Field(ge=0, lt=1)], ...], AfterValidator(_distinct)] = Field(
        min_length=1, max_length=20, description="1 to 20 different numbers from 0 to below 1, as in [0.0, 0.9]"
    )
    seeds: int = Field(ge=2, le=100, description="a whole number from 2 to 100")
    validation_images: int = Field(ge=1, le=60_000, description="a whole number from 1 to 60,000")

    @property
    def candidates(self) -> list[tuple[float, float]]:
        """Every pair of learning rate and momentum, in the order of the file."""
        return list(product(self.lrs, self.momenta))

    def training_images(self, total: int, batch_size: int) -> int:
        """How many of `total` images are left for training; raises PipelineError if they don't fill a batch."""
        left = total - self.validation_images
        if left < batch_size:
            raise PipelineError(
                f"validation_images: {self.validation_images:,} of the {total:,} training images leaves "
                f"{max(left, 0):,} to train on, less than a batch of {batch_size:,}; "
                f"set it to at most {total - batch_size:,}"
            )
        return left


def load_grid() -> Grid:
    return read("sweep/params.yaml", Grid)
