"""requirements.txt pins what the project needs, and leaves to torch what that asks for on behalf of CUDA."""

import re
import tomllib

from tests.project import ROOT

PINNED = dict(re.findall(r"^([\w.-]+)(?:\[.*\])?==([^\s;]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE))


def test_every_direct_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    assert {re.split(r"[\[=<>]", name)[0].lower() for name in named} <= PINNED.keys()


def test_a_build_of_torch_for_cpus_gets_nothing_of_cuda() -> None:
    # pip takes it for torch==2.14.1; the others name the versions of these themselves.
    assert [name for name in PINNED if name.startswith(("cuda", "nvidia", "triton"))] == []
