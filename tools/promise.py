"""Where the same bytes are promised, and what to expect of a machine where they are not."""

import json
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from stages.lib import numerics, params

import pandas

# Packages whose code computes an output; the other pinned ones can't change a byte.
PACKAGES = ["matplotlib", "numpy", "pandas", "pillow", "scikit-learn", "scipy", "torch", "torchinfo"]


class Band(NamedTuple):
    """Mean and standard deviation of a metric over 20 seeds."""

    mean: float
    deviation: float


# Measured with the seeds 0 to 19 and these settings.
SETTINGS = {
    "dataset": "mnist",
    "hidden_units": 20,
    "batch_size": 100,
    "epochs": 17,
    "lr": 0.1,
    "momentum": 0.0,
}
BANDS = {
    "train_loss": Band(0.2059, 0.0035),
    "accuracy": Band(0.9402, 0.0017),
    "loss": Band(0.2067, 0.0051),
}
WIDTH = 4  # standard deviations; as they are of 20 seeds themselves, a right run falls outside once in about 1,000


def limits() -> list[str]:
    """Why the recorded bytes are not promised here, a sentence each; empty where they are."""
    reasons = []
    system = f"{platform.system()} on {platform.machine()}"
    if system != "Linux on x86_64":
        reasons.append(f"it is for Linux on x86_64, this is {system}")
    elif not numerics.has_avx2():
        reasons.append("it needs a processor with AVX2, this one has none")
    pinned = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", Path("requirements.txt").read_text(), re.MULTILINE))
    for package in PACKAGES:
        if (here := installed(package)) != pinned.get(package):
            reasons.append(f"requirements.txt pins {package} {pinned.get(package)}, installed is {here}")
    return reasons


def installed(package: str) -> str | None:
    """The version without the label of a build, such as +cpu."""
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return None


def metrics() -> dict[str, float]:
    """What the run here ended with: mean loss of the last training epoch, accuracy and loss on the test images."""
    test = json.loads(Path("metrics/test.json").read_text())
    last = pandas.read_csv("plots/loss.csv")["train_loss"].iloc[-1]
    return {"train_loss": float(last), "accuracy": test["accuracy"], "loss": test["loss"]}


def other_settings() -> list[str]:
    """The settings here for which the bands don't hold, as `name: value`."""
    here = params.load().model_dump()
    return [f"{name}: {here[name]}" for name, value in SETTINGS.items() if here[name] != value]


def within(name: str, value: float) -> bool:
    return abs(value - BANDS[name].mean) <= WIDTH * BANDS[name].deviation
