"""Sharing results: pushed to a remote, pulled into a fresh clone, where nothing has to be run again."""

import importlib.util
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests import project
from tests.project import run

import pytest

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
needs_s3 = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("moto", "dvc_s3"))),
    reason="needs dvc-s3 and moto: make s3",
)


@pytest.fixture
def results(digits: Path, tmp_path: Path) -> Path:
    """A repository of its own whose last commit has the results of a run, and whose cache has the files."""
    folder = shutil.copytree(digits, tmp_path / "results")
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    run("git", "commit", "--quiet", "--all", "--message", "More", cwd=folder)


def push_and_pull(results: Path, clone: Path) -> None:
    """Send the results of a folder to its remote and get them in a clone; fails unless all is there then."""
    commit(results)
    run("dvc", "push", "--quiet", cwd=results)
    run("git", "clone", "--quiet", str(results), str(clone), cwd=results)
    run("dvc", "pull", "--quiet", cwd=clone)
    for name in ("models/checkpoint.safetensors", "plots/predictions.csv", "data/raw/t10k-labels-idx1-ubyte"):
        assert (clone / name).read_bytes() == (results / name).read_bytes()
    fetched = clone.with_name("checkpoint.safetensors")  # as the model card says
    run("dvc", "get", "--quiet", str(results), "models/checkpoint.safetensors", "--out", str(fetched), cwd=clone.parent)
    assert fetched.read_bytes() == (results / "models/checkpoint.safetensors").read_bytes()
    said = run("dvc", "repro", cwd=clone)
    assert "Running stage" not in said
    assert "Data and pipelines are up to date." in said
    assert run("git", "status", "--porcelain", cwd=clone) == ""


@pytest.mark.slow
def test_a_folder_as_remote(results, tmp_path):
    run("dvc", "remote", "add", "--default", "storage", str(tmp_path / "storage"), cwd=results)
    push_and_pull(results, tmp_path / "clone")


@pytest.fixture
def s3_server() -> Iterator[str]:
    """The address of an S3 server on this machine, with an empty bucket called results."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            make_bucket(f"http://127.0.0.1:{port}/results")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def make_bucket(url: str) -> None:
    request = urllib.request.Request(url, method="PUT")
    for _ in range(600):
        try:
            urllib.request.urlopen(request, timeout=10).close()
            return
        except urllib.error.URLError:  # not listening yet
            time.sleep(0.1)
    raise TimeoutError(f"no S3 server answers at {url}")


@pytest.mark.slow
@needs_s3
def test_an_s3_bucket_as_remote(results, s3_server, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.project.QUICK", project.QUICK | KEYS)
    run("dvc", "remote", "add", "--default", "storage", "s3://results/mnist", cwd=results)
    run("dvc", "remote", "modify", "storage", "endpointurl", s3_server, cwd=results)
    push_and_pull(results, tmp_path / "clone")
