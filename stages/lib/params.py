"""The settings of params.yaml: what each may be."""

from pathlib import Path
from typing import Literal

from stagecraft import configuration
from stagecraft.errors import PipelineError
from stages.lib.data import DATASETS

from pydantic import BaseModel, ConfigDict, Field


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
                f"{self.validation_images:,}, which leaves none to train on; set it to {total // 6}, say"
            )
        return total - self.validation_images


class Params(Training):
    """Every setting of the pipeline; params.yaml holds the values."""

    row_images: int = Field(ge=1, le=20, description="a whole number from 1 to 20")
    images_per_class: int = Field(ge=1, le=20, description="a whole number from 1 to 20")
    mistakes: int = Field(ge=1, le=60, description="a whole number from 1 to 60")


def load(path: str | Path = "params.yaml") -> Params:
    """Read and check every setting of the pipeline; raises PipelineError, which names all problems at once."""
    return configuration.read(path, Params)


if __name__ == "__main__":  # `make repro` refuses bad settings even where no stage has to run
    load()
