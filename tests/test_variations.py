"""The whole pipeline in fresh copies that differ in everything that must not matter: every output is the same bytes.

In the manner of https://reproducible-builds.org/docs/test/: a few runs vary many things at once; if one of them
gives another byte, each of its variations is tried alone to name the one that matters.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests import replica
from tests.project import DIGITS, STAGES, declared

import pytest
import yaml

CPUS = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
PICTURES = """
export MPLCONFIGDIR=$(mktemp -d); echo "lines.linewidth: 9" > "$MPLCONFIGDIR/matplotlibrc"
exec "$@"
"""
DISORDER = """
mkdir ../mounted && disorderfs --shuffle-dirents=yes . ../mounted > /dev/null || exit
(cd ../mounted && "$@"); status=$?
fusermount -uz ../mounted && exit $status
"""


@dataclass(frozen=True)
class Variation:
    """What is different in a run: environment variables, a command that starts the run, the folder, how DVC runs."""

    environment: dict[str, str] = field(default_factory=dict)
    start: tuple[str, ...] = ()
    folder: str = "project"
    command: tuple[str, ...] = ("dvc", "repro")


def threads(count: int) -> Variation:
    return Variation(dict.fromkeys(["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"], str(count)))


def shell(commands: str) -> tuple[str, ...]:
    return ("sh", "-ec", commands, "sh")


RUNS = {
    "far away": {
        "path": Variation(folder="a long path with spaces, é, ß and 漢字/" * 4 + "project"),
        "home": Variation(
            {"HOME": "{folder}/home", "XDG_CACHE_HOME": "{folder}/cache", "XDG_CONFIG_HOME": "{folder}/etc"}
        ),
        "8 threads": threads(8),
        "instructions of PyTorch": Variation({"ATEN_CPU_CAPABILITY": "default"}),
        "instructions of MKL": Variation({"MKL_CBWR": "AVX2"}),
        "hash seed": Variation({"PYTHONHASHSEED": "4711"}),
        "time zone": Variation({"TZ": "Pacific/Kiritimati"}),
        "Turkish": Variation({"LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8"}),
        "umask": Variation(start=shell('umask 077; exec "$@"')),
        "date": Variation(start=("faketime", "2031-02-03 04:05:06")),
    },
    "experiment": {
        "2 threads": threads(2),
        "AVX2 of PyTorch": Variation({"ATEN_CPU_CAPABILITY": "avx2"}),
        "oldest instructions of MKL": Variation({"MKL_CBWR": "COMPATIBLE"}),
        "one CPU": Variation(start=("taskset", "--cpu-list", str(min(CPUS)))),
        "instructions of NumPy": Variation({"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4"}),
        "ASCII": Variation({"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
        "hints of letters": Variation({"FREETYPE_PROPERTIES": "truetype:interpreter-version=35"}),
        "notebook": Variation({"MPLBACKEND": "module://matplotlib_inline.backend_inline"}),
        "temporary experiment": Variation(command=shell("dvc exp run --temp --name other; dvc exp apply other")),
    },
    "queue": {
        "1 thread": threads(1),
        "instructions of OpenBLAS": Variation({"OPENBLAS_CORETYPE": "Nehalem"}),
        "style of pictures": Variation(start=shell(PICTURES)),
        "order of files": Variation(start=shell(DISORDER)),
        "queue": Variation(
            command=shell("dvc exp run --queue --name other; dvc exp run --run-all --jobs 1; dvc exp apply other")
        ),
    },
}
TURKISH = "import locale; locale.setlocale(locale.LC_ALL, 'tr_TR.UTF-8')"  # fails where setting it changes nothing
HAS_TURKISH = subprocess.run([sys.executable, "-c", TURKISH], stderr=subprocess.DEVNULL).returncode == 0
MISSING = {
    "one CPU": None if shutil.which("taskset") else "there is no taskset",
    "Turkish": None if HAS_TURKISH else "the locale tr_TR.UTF-8 is not installed (Debian: locales)",
    "date": None if shutil.which("faketime") else "faketime is not installed (Debian: faketime)",
    "order of files": None if shutil.which("disorderfs") else "disorderfs is not installed (Debian: disorderfs)",
}
# Those that this machine is able to make; test_can_vary reports the others as skipped.
ABLE = {run: {name: one for name, one in varied.items() if not MISSING.get(name)} for run, varied in RUNS.items()}


def vary(root: Path, *variations: Variation) -> Path:
    """Run the pipeline in a fresh copy under `root` with all these variations at once; returns the copy."""
    folder = root / next((one.folder for one in variations if one.folder != "project"), "project")
    replica.make(folder, DIGITS)
    environment = {key: value.format(folder=root) for one in variations for key, value in one.environment.items()}
    start = [word for one in variations for word in one.start]
    command = next((one.command for one in variations if one.command != tuple(replica.REPRO)), replica.REPRO)
    replica.run(folder, [*start, *command], environment)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Path]]]:
    """The folder of each run; as many at a time as there are CPUs."""
    with ThreadPoolExecutor(len(CPUS)) as pool:
        yield {
            run: pool.submit(vary, tmp_path_factory.mktemp(run.replace(" ", "-")), *ABLE[run].values()) for run in RUNS
        }


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS)
def test_variations_give_the_same_bytes(
    run: str, runs: dict[str, Future[Path]], digits: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if difference := replica.difference(digits, runs[run].result()):
        copies = {name: vary(tmp_path_factory.mktemp("alone"), one) for name, one in ABLE[run].items()}
        alone = [name for name, copy in copies.items() if replica.difference(digits, copy)]
        pytest.fail(f"{difference}\nvaried: {', '.join(alone or copies)}")


@pytest.mark.slow
def test_warm_cache_gives_the_same_bytes(digits: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(digits, tmp_path / "project", symlinks=True)
    for path in [folder / output for stage in STAGES for output in declared(stage, "outs")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    replica.run(folder)
    assert replica.difference(digits, folder) == ""


@pytest.mark.parametrize("name", MISSING)
def test_can_vary(name: str) -> None:
    if MISSING[name]:
        pytest.skip(f"the variation `{name}` was left out: {MISSING[name]}")


@pytest.mark.slow
def test_native_numerics_differ(digits: Path, tmp_path: Path) -> None:
    """The negative control: what is varied does matter where sums are rounded, and the comparison says where."""

    def train(name: str, environment: dict[str, str]) -> Path:
        folder = shutil.copytree(digits, tmp_path / name, symlinks=True)
        settings = yaml.safe_load((folder / "params.yaml").read_text())
        settings |= {"numerics": "native", "batch_size": 100}  # of fewer images, threads may not share a sum
        (folder / "params.yaml").write_text(yaml.safe_dump(settings))
        replica.run(folder, [sys.executable, "-m", "stages.train"], environment)
        return folder

    native = train("native", threads(1).environment)
    variations = RUNS["far away"] | RUNS["experiment"]
    for name in ("instructions of PyTorch", "oldest instructions of MKL", "2 threads"):
        difference = replica.difference(native, train(name, variations[name].environment))
        assert difference.startswith("models/checkpoint.safetensors differs: byte "), name
