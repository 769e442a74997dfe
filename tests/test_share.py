"""Sharing results: pushed to a remote, pulled into a fresh clone, where nothing has to be run again."""

import urllib.request
from pathlib import Path

from tests import project
from tests.project import Project, run

import pytest

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
pytestmark = pytest.mark.slow


@pytest.fixture
def results(digits: Path, tmp_path: Path) -> Project:
    """A repository of its own whose last commit has the results of a run, and whose cache has the files."""
    project = Project(tmp_path / "results", original=digits)
    project.commit("results")
    return project


def push_and_pull(results: Project, clone: Path) -> None:
    """Send the results to their remote and get them in a clone; fails unless all is there then."""
    results.commit("remote")
    results.run("dvc", "push", "--quiet")
    results.run("git", "clone", "--quiet", ".", str(clone))
    run("dvc", "pull", "--quiet", cwd=clone)
    for name in ("models/checkpoint.safetensors", "plots/predictions.csv", "data/raw/t10k-labels-idx1-ubyte"):
        assert (clone / name).read_bytes() == results.read(name)
    fetched = clone.with_name("checkpoint.safetensors")  # as the model card says
    source = str(results.folder), "models/checkpoint.safetensors"
    run("dvc", "get", "--quiet", *source, "--out", str(fetched), cwd=clone.parent)
    assert fetched.read_bytes() == results.read("models/checkpoint.safetensors")
    assert "Data and pipelines are up to date." in run("dvc", "repro", cwd=clone)
    assert run("git", "status", "--porcelain", cwd=clone) == ""


def test_a_folder_as_remote(results, tmp_path):
    results.run("dvc", "remote", "add", "--default", "storage", str(tmp_path / "storage"))
    push_and_pull(results, tmp_path / "clone")


def test_an_s3_bucket_as_remote(results, tmp_path, monkeypatch):
    pytest.importorskip("dvc_s3", reason="needs dvc-s3 and moto: make s3")
    moto = pytest.importorskip("moto.server", reason="needs dvc-s3 and moto: make s3")
    server = moto.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    urllib.request.urlopen(urllib.request.Request(f"{address}/results", method="PUT")).close()
    monkeypatch.setattr("tests.project.QUICK", project.QUICK | KEYS)
    results.run("dvc", "remote", "add", "--default", "storage", "s3://results/mnist")
    results.run("dvc", "remote", "modify", "storage", "endpointurl", address)
    push_and_pull(results, tmp_path / "clone")
    server.stop()
