"""How much faster the sweep is on all processors than one model after the other: python -m bench.sweep [EPOCHS].

Both train the grid of sweep/params.yaml on data/raw, for a few epochs, from start to end and in turn: the command of
sweep/dvc.yaml, and `python -m sweep.run`, a single process. Both write the same bytes. On a busy machine the seconds
that the sweep had of the processors say more than those on the clock.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import yaml

ROUNDS = 3
ALONE = "python -m sweep.run"


def copy(folder: Path, epochs: int) -> None:
    """What the sweep needs, with other epochs."""
    for name in ("stages", "sweep", "data/raw"):
        shutil.copytree(name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    settings = yaml.safe_load(Path("params.yaml").read_text()) | {"epochs": epochs}
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))


def run(command: str, folder: Path) -> tuple[float, float, bytes]:
    """Seconds from start to end and of all processors, where nothing is trained yet, and what was measured."""
    shutil.rmtree(folder / ".train_cache", ignore_errors=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command_line = [sys.executable, *command.split()[1:]]
    start, used = time.perf_counter(), of_processors()
    subprocess.run(command_line, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    seconds, used = time.perf_counter() - start, of_processors() - used
    print(f"{seconds:6.1f} s, {used:6.1f} of processors: {command}", flush=True)
    return seconds, used, (folder / "plots/sweep/series.csv").read_bytes()


def of_processors() -> float:
    times = os.times()  # of processes that have ended
    return times.children_user + times.children_system


def main() -> None:
    together = yaml.safe_load(Path("sweep/dvc.yaml").read_text())["stages"]["sweep"]["cmd"]
    ratios, bounds, processors = [], [], os.cpu_count() or 1
    with TemporaryDirectory() as name:
        folder = Path(name)
        copy(folder, int(sys.argv[1]) if len(sys.argv) > 1 else 3)
        for _ in range(ROUNDS):
            (alone, own, expected), (shared, of_all, found) = run(ALONE, folder), run(together, folder)
            assert found == expected
            ratios.append(alone / shared)
            bounds.append(processors * own / of_all)
    print(f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) times faster with {processors} processors")
    print(f"{median(bounds):.2f} ({min(bounds):.2f} to {max(bounds):.2f}) if nothing else used them and none was idle")


if __name__ == "__main__":
    main()
