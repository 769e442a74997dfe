"""Workers that train together leave the bytes of one alone, whatever their number and whoever is killed."""

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from unittest.mock import Mock

from tests.project import ENVIRONMENT, QUICK, Project, copy_code, run

import pytest
import samebits
import torch.distributed as dist
import yaml

RESULTS = "models/checkpoint.safetensors", "plots/loss.csv"
needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in Linux's /proc")
pytestmark = pytest.mark.slow


def clone(small: Path, folder: Path, **settings: object) -> Path:
    """A copy of the stages, with data and initial weights, and other settings where they are given."""
    copy_code(folder)
    shutil.copytree(small / "data", folder / "data")
    (folder / "models").mkdir()
    shutil.copy(small / "models/initial.safetensors", folder / "models")
    base = yaml.safe_load((small / "params.yaml").read_text())
    (folder / "params.yaml").write_text(yaml.safe_dump(base | settings))
    return folder


def torchrun(folder: Path, *options: str, environment: dict[str, str] = ENVIRONMENT) -> subprocess.Popen[str]:
    command = ["python", "-m", "torch.distributed.run", *options, "-m", "stages.train"]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
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
    """What one process leaves in a copy of it."""
    copy = shutil.copytree(folder, folder.with_name("alone"))
    run("python", "-m", "stages.train", cwd=copy)
    return results(copy)


def together(folder: Path, workers: int, status: int = 0) -> str:
    """What that many workers print in training."""
    return finished(torchrun(folder, "--standalone", "--nproc-per-node", str(workers), environment=QUICK), status)


@pytest.mark.parametrize(
    ("workers", "settings"),
    [
        (1, {}),
        (5, {"validation_images": 901, "batch_size": 401, "model": "convolutional"}),
        (3, {"validation_images": 1_480, "batch_size": 2}),  # more workers than images in a batch
    ],
)
def test_any_number_of_workers_gives_the_bytes_of_one(workers, settings, small, tmp_path):
    folder = clone(small, tmp_path / "a", epochs=1, **settings)
    run("python", "-m", "stages.build", cwd=folder)
    expected = alone(folder)
    assert together(folder, workers).count("epoch 1/1") == 1
    assert results(folder) == expected


def test_dvc_records_what_workers_leave_as_if_one_had_trained(digits: Path, tmp_path: Path) -> None:
    project = Project(tmp_path, original=digits)
    lock = project.read("dvc.lock")
    shutil.rmtree(tmp_path / ".train_cache")
    for name in RESULTS:
        (tmp_path / name).unlink()
    together(tmp_path, 2)
    project.run("dvc", "commit", "-f", "train")
    assert project.read("dvc.lock") == lock
    assert "up to date" in project.run("dvc", "status", "dvc.yaml")


def agents(folders: list[Path], nodes: str = "2", environment: dict[str, str] = QUICK) -> list[subprocess.Popen[str]]:
    """An agent in each folder, as as many machines would have them, on this one; they meet at the first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    quick = "keep_alive_interval=1,keep_alive_max_attempt=2,last_call_timeout=1"
    of_all = "--nnodes", nodes, "--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint, "--max-restarts", "1"
    of_each = [f"is_host={int(folder == folders[0])},{quick}" for folder in folders]
    together = zip(folders, of_each, strict=True)
    return [torchrun(folder, *of_all, "--rdzv-conf", own, environment=environment) for folder, own in together]


def test_two_machines_give_the_bytes_of_one_process(small: Path, tmp_path: Path) -> None:
    folders = [clone(small, tmp_path / name) for name in ("a", "b")]
    expected = alone(folders[0])
    for process in agents(folders):
        finished(process)
    (of_first,) = [folder for folder in folders if any((folder / name).exists() for name in RESULTS)]
    assert results(of_first) == expected


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in children.read_text().split()]


@needs_proc
def test_killed_workers_bring_all_back_to_the_last_epoch(small: Path, tmp_path: Path) -> None:
    folder = clone(small, tmp_path / "a", epochs=40, batch_size=100)
    expected = alone(folder)
    process = torchrun(folder, "--standalone", "--nproc-per-node", "2", "--max-restarts", "3")
    chance = random.Random(0)
    for kept in (0, 10):  # epochs, of the 40 that are done when all of them are kept
        while not (folder / RESULTS[1]).exists() or (folder / RESULTS[1]).read_bytes().count(b"\n") < 2 + kept:
            assert process.poll() is None
            time.sleep(0.05)
        os.kill(chance.choice(workers_of(process)), signal.SIGKILL)
    assert finished(process).count("training goes on after epoch") == 2
    assert results(folder) == expected


@needs_proc
def test_when_a_machine_is_lost_the_other_goes_on_alone(small: Path, tmp_path: Path) -> None:
    folders = [clone(small, tmp_path / name, epochs=40, batch_size=100) for name in ("a", "b")]
    expected = alone(folders[0])
    first, second = agents(folders, "1:2", ENVIRONMENT)
    while not all((folder / ".train_cache").exists() for folder in folders):  # the first epoch is not over
        assert first.poll() is None
        time.sleep(0.05)
    for pid in (second.pid, *workers_of(second)):
        os.kill(pid, signal.SIGKILL)
    second.communicate()
    assert "training goes on after epoch" in finished(first)
    assert results(folders[0]) == expected


def once(message: str, printed: str) -> None:
    """Our message stands there once, with no second one and no traceback of ours."""
    assert printed.count("error: ") == printed.count(f"error: {message}") == 1, printed
    assert "/stages/" not in printed, printed


def test_clones_that_differ_are_refused_with_what_differs(small: Path, tmp_path: Path) -> None:
    folders = [clone(small, tmp_path / "a"), clone(small, tmp_path / "b", epochs=3)]
    with (folders[1] / "stages/lib/model.py").open("a") as code:
        code.write("# changed\n")
    initial = folders[1] / "models/initial.safetensors"
    initial.write_bytes(initial.read_bytes()[:-1] + b"\x00")
    printed = "".join(finished(process, 1) for process in agents(folders))
    once("the workers differ in their settings and data and code;", printed)


def test_a_worker_says_what_it_lacks_and_the_others_are_silent(small: Path, tmp_path: Path) -> None:
    folders = [clone(small, tmp_path / name) for name in ("a", "b")]
    shutil.rmtree(folders[1] / "data/raw")
    once("can't read data/raw/", "".join(finished(process, 1) for process in agents(folders)))


@pytest.mark.parametrize(
    ("lr", "told"), [(1e38, "training diverged"), ("fast", "params.yaml has settings that can't be used")]
)
def test_what_goes_wrong_for_all_is_said_once(lr: object, told: str, small: Path, tmp_path: Path) -> None:
    once(told, together(clone(small, tmp_path / "a", lr=lr), 2, status=1))


def test_ctrl_c_ends_all_with_one_line(small: Path, tmp_path: Path) -> None:
    folder = clone(small, tmp_path / "a", epochs=10_000)
    process = torchrun(folder, "--standalone", "--nproc-per-node", "2")
    while not (folder / RESULTS[1]).exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert printed.count("\ninterrupted\n") <= 1, printed
    assert "stages/" not in printed, printed  # torchrun's own traceback is not ours


def test_workers_that_can_t_connect_are_told_to_name_their_network(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = RuntimeError("Gloo connectFullMesh failed with Connection refused, remote=[127.0.1.1]:4321")
    monkeypatch.setattr(dist, "init_process_group", Mock(side_effect=refused))
    with pytest.raises(samebits.WorkersError, match=r"remote=\[127.0.1.1\].*`export GLOO_SOCKET_IFNAME=eth0` on each"):
        samebits.workers._connected(dist.HashStore(), 0, 1)
