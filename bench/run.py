"""Measure the project against what else one could use: `make bench`, or `python -m bench.run --epochs 3 --rounds 3`.

Every competitor is a file of bench/competitors and runs in a process of its own, in turn, round after round, so that a
slow minute of the machine hits all of them. Writes the tables of bench/results.md, and leaves the words above them.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

RESULTS = Path(__file__).with_name("results.md")
TABLES = "## Measured"  # the heading under which they stand
COMPETITORS = {
    "this project, exact": ["ours", "{epochs}", "exact"],
    "this project, native": ["ours", "{epochs}", "native"],
    "the notebook's loop": ["notebook", "{epochs}"],
    "like PyTorch's examples/mnist": ["examples", "{epochs}"],
    "scikit-learn's MLPClassifier": ["sklearn_mlp", "{epochs}"],
    "Lightning's Trainer": ["lightning_trainer", "{epochs}"],
    "jax.jit with lax.scan": ["jax_scan", "{epochs}"],
    "NumPy by hand": ["numpy_by_hand", "{epochs}"],
}
# epochs, numerics, copies of the 60,000 images, hidden units, threads
GROWTH = {
    "2 epochs, 60,000 images, 20 hidden units": ["ours", "2", "exact", "1", "20"],
    "10 times the epochs": ["ours", "20", "exact", "1", "20"],
    "10 times the images": ["ours", "2", "exact", "10", "20"],
    "10 times the hidden units": ["ours", "2", "exact", "1", "200"],
    "1,000 hidden units": ["ours", "2", "exact", "1", "1000"],
    "1,000 hidden units, 2 threads": ["ours", "2", "exact", "1", "1000", "2"],
    "1,000 hidden units, native": ["ours", "2", "native", "1", "1000"],
    "1,000 hidden units, 2 threads, native": ["ours", "2", "native", "1", "1000", "2"],
}


class Run(NamedTuple):
    """One process: each epoch's seconds, seconds from start to end, peak memory in MiB, final mean loss in nats."""

    epochs: list[float]
    total: float
    memory: float
    loss: float


def measure(arguments: list[str]) -> Run:
    """Run a competitor, its libraries on one thread: with more, products this small only get slower."""
    environment = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"} | os.environ
    name, *rest = arguments
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", f"bench.competitors.{name}", *rest],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        total = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"bench: `python -m bench.competitors.{' '.join(arguments)}` failed; run it to see why")
    result = json.loads(printed.splitlines()[-1])
    scale = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return Run(result["seconds"], total, usage.ru_maxrss / scale, result["loss"])


def in_turn(commands: dict[str, list[str]], epochs: int, rounds: int) -> dict[str, list[Run]]:
    """Every command once per round."""
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for number in range(1, rounds + 1):
        for name, arguments in commands.items():
            runs[name].append(measure([part.format(epochs=epochs) for part in arguments]))
            latest = runs[name][-1]
            print(f"round {number}/{rounds}  {name:<42}{latest.total:7.1f} s, loss {latest.loss:.4f}", flush=True)
    return runs


def per_epoch(runs: list[Run]) -> list[float]:
    """Seconds of each epoch after the first, of all rounds: the first also compiles and warms caches."""
    return [seconds for run in runs for seconds in run.epochs[1:]]


def rows(runs: dict[str, list[Run]]) -> Iterator[str]:
    """The lines of a Markdown table; every number is a median, with the smallest and the largest of the epochs."""
    yield "| | seconds per epoch (least to most) | seconds from start to end | peak memory, MiB | final loss |"
    yield "|---|---|---|---|---|"
    for name, own in runs.items():
        seconds = per_epoch(own)
        yield (
            f"| {name} | {median(seconds):.3f} ({min(seconds):.3f} to {max(seconds):.3f}) "
            f"| {median(run.total for run in own):.1f} | {median(run.memory for run in own):.0f} "
            f"| {median(run.loss for run in own):.4f} |"
        )


def write(comparison: dict[str, list[Run]], growth: dict[str, list[Run]], epochs: int, rounds: int) -> None:
    words = RESULTS.read_text(encoding="utf-8").split(TABLES)[0]
    heading = f"{epochs} epochs, {rounds} rounds in turn, one thread, {os.cpu_count()} processors; medians.\n"
    text = [f"{TABLES}\n", heading, *rows(comparison), "\nHow it grows (this project):\n", *rows(growth)]
    RESULTS.write_text(words + "\n".join(text) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=4, help="2 or more: the first is not counted")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.epochs < 2 or arguments.rounds < 1:
        parser.error("at least 2 epochs and 1 round are needed")
    comparison = in_turn(COMPETITORS, arguments.epochs, arguments.rounds)
    growth = in_turn(GROWTH, arguments.epochs, 1)
    write(comparison, growth, arguments.epochs, arguments.rounds)
    print(RESULTS.read_text(encoding="utf-8"))
    print("The words above the tables are as they were: are machine, date and conclusions still true?")


if __name__ == "__main__":
    main()
