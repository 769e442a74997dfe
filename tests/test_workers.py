"""Workers that train together leave the bytes of one alone, whatever their number and whoever is killed."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.project import ENVIRONMENT, ROOT

import pandas
import pytest
import yaml

RESULTS = "models/checkpoint.safetensors", "plots/loss.csv"
pytestmark = pytest.mark.slow


def clone(small: Path, folder: Path, **settings: object) -> Path:
    """A copy of the stages, with data and initial weights, and other settings where they are given."""
    shutil.copytree(ROOT / "stages", folder / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(small / "data", folder / "data")
    (folder / "models").mkdir()
    shutil.copy(small / "models/initial.safetensors", folder / "models")
    base = yaml.safe_load((small / "params.yaml").read_text())
    (folder / "params.yaml").write_text(yaml.safe_dump(base | settings))
    return folder


def torchrun(folder: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", *options, "-m", "stages.train"]
    return subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip


def finished(process: subprocess.Popen[str], status: int = 0) -> str:
    """What it printed; it must end with `status`."""
    printed, _ = process.communicate(timeout=240)
    assert process.returncode == status, printed
    return printed


def results(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in RESULTS]


def alone(folder: Path) -> list[bytes]:
    """What one process leaves there; its results and state are removed again."""
    subprocess.run([sys.executable, "-m", "stages.train"], cwd=folder, env=ENVIRONMENT, check=True, capture_output=True)
    found = results(folder)
    forget(folder)
    return found


def forget(folder: Path) -> None:
    shutil.rmtree(folder / ".train_cache")
    for name in RESULTS:
        (folder / name).unlink()


def test_any_number_of_workers_gives_the_bytes_of_one(small: Path, tmp_path: Path) -> None:
    folder = clone(small, tmp_path / "a", validation_images=301, batch_size=401)
    expected = alone(folder)
    for workers in (1, 2, 3):
        printed = finished(torchrun(folder, "--standalone", "--nproc-per-node", str(workers)))
        assert printed.count("epoch 2/2") == 1
        assert results(folder) == expected
        forget(folder)


def test_there_may_be_more_workers_than_images_in_a_batch(small: Path, tmp_path: Path) -> None:
    folder = clone(small, tmp_path / "a", batch_size=2, validation_images=1_480, epochs=1)
    expected = alone(folder)
    finished(torchrun(folder, "--standalone", "--nproc-per-node", "3"))
    assert results(folder) == expected


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in children.read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in Linux's /proc")
@pytest.mark.parametrize("kill", range(2))
def test_a_killed_worker_brings_all_back_to_the_last_epoch(kill: int, small: Path, tmp_path: Path) -> None:
    folder = clone(small, tmp_path / "a", epochs=40, batch_size=100)
    expected = alone(folder)
    process = torchrun(folder, "--standalone", "--nproc-per-node", "2", "--max-restarts", "3")
    chance = random.Random(kill)
    while not (folder / "plots/loss.csv").exists():  # the first epoch is not over
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(3 * chance.random())
    os.kill(chance.choice(workers_of(process)), signal.SIGKILL)
    assert "training goes on after epoch" in finished(process)
    assert results(folder) == expected


def agents(folders: list[Path], nodes: str) -> list[subprocess.Popen[str]]:
    """An agent in each folder, as two machines would have them, on this one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    options = "--nnodes", nodes, "--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint, "--rdzv-id", "test"
    return [torchrun(folder, *options) for folder in folders]


def test_two_machines_give_the_bytes_of_one_process(small: Path, tmp_path: Path) -> None:
    folders = [clone(small, tmp_path / name) for name in ("a", "b")]
    expected = alone(folders[0])
    for process in agents(folders, "2"):
        finished(process)
    found = [folder for folder in folders if (folder / RESULTS[0]).exists()]
    assert len(found) == 1  # the first worker writes
    assert results(found[0]) == expected


def test_clones_that_differ_are_refused_with_what_differs(small: Path, tmp_path: Path) -> None:
    folders = [clone(small, tmp_path / "a"), clone(small, tmp_path / "b", lr=0.2)]
    code = folders[1] / "stages/lib/model.py"
    code.write_text(code.read_text() + "# changed\n")
    printed = "".join(finished(process, 1) for process in agents(folders, "2"))
    assert printed.count("error: the workers differ in their settings and code") == 1


def test_what_goes_wrong_for_all_is_said_once(small: Path, tmp_path: Path) -> None:
    folder = clone(small, tmp_path / "a", lr=1e38)
    printed = finished(torchrun(folder, "--standalone", "--nproc-per-node", "3"), 1)
    assert printed.count("error: training diverged") == 1
    assert "stages/train.py" not in printed  # no traceback of ours


def test_native_workers_have_the_losses_of_one_process(small: Path, tmp_path: Path) -> None:
    folder = clone(small, tmp_path / "a", numerics="native", validation_images=300)
    alone(folder)
    finished(torchrun(folder, "--standalone", "--nproc-per-node", "1"))
    one = pandas.read_csv(folder / RESULTS[1])
    forget(folder)
    finished(torchrun(folder, "--standalone", "--nproc-per-node", "3"))
    pandas.testing.assert_frame_equal(pandas.read_csv(folder / RESULTS[1]), one, rtol=1e-5)
