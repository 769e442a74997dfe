"""How much faster the sweep is on all processors than one model after the other: python -m bench.sweep [EPOCHS].

Both train the grid of sweep/params.yaml on data/raw, for a few epochs, from start to end and in turn: the command of
sweep/dvc.yaml, and `python -m sweep.run`, a single process. Both write the same bytes.
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


def run(command: str, folder: Path) -> tuple[float, bytes]:
    """Seconds from start to end, where nothing is trained yet, and what was measured."""
    shutil.rmtree(folder / ".train_cache", ignore_errors=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, *command.split()[1:]], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - start, (folder / "plots/sweep/series.csv").read_bytes()


def main() -> None:
    together = yaml.safe_load(Path("sweep/dvc.yaml").read_text())["stages"]["sweep"]["cmd"]
    ratios = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        copy(folder, int(sys.argv[1]) if len(sys.argv) > 1 else 3)
        for _ in range(ROUNDS):
            (one_by_one, expected), (at_once, found) = run(ALONE, folder), run(together, folder)
            assert found == expected
            ratios.append(one_by_one / at_once)
            print(f"one model after the other {one_by_one:.1f} s, shared out {at_once:.1f} s", flush=True)
    least, most, processors = min(ratios), max(ratios), os.cpu_count() or 1
    print(f"{median(ratios):.2f} ({least:.2f} to {most:.2f}) times faster with {processors} processors")


if __name__ == "__main__":
    main()
