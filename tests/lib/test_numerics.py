"""The pins hold in a process whose user has set the variables to something else."""

import os
import platform
import subprocess
import sys
from pathlib import Path

from stages.lib import numerics

import pytest
import torch

HOSTILE = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "AVX2",
    "OMP_NUM_THREADS": "8",
    "MKL_NUM_THREADS": "8",
    "MKL_VERBOSE": "1",  # one line for each product, with the code path and the number of threads
}
PRODUCT = """
import sys, torch
from stages.lib import numerics
numerics.configure(sys.argv[1])
torch.ones(4, 5) @ torch.ones(5, 3)
print(torch.backends.cpu.get_cpu_capability(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
"""


def product(mode: str) -> str:
    """What a process prints that multiplies two matrices after a user has set other variables."""
    command = [sys.executable, "-c", PRODUCT, mode]
    return subprocess.check_output(command, env={**os.environ, **HOSTILE}, text=True)


def test_portable_overrides_what_the_user_has_set() -> None:
    printed = product("portable")
    assert "CNR:COMPATIBLE" in printed  # the code path of MKL that all processors share
    assert "NThr:1" in printed
    assert printed.splitlines()[-1] == "AVX2 1 True"


def test_native_leaves_the_instructions_to_the_user() -> None:
    printed = product("native")
    assert "CNR:COMPATIBLE" not in printed
    assert printed.splitlines()[-1] == "DEFAULT 1 True"


@pytest.mark.skipif(platform.system() != "Linux" or platform.machine() != "x86_64", reason="asks Linux about AVX2")
def test_avx2_is_seen_whatever_the_variables_say() -> None:
    code = "from stages.lib import numerics; print(numerics.has_avx2())"
    printed = subprocess.check_output([sys.executable, "-c", code], env={**os.environ, **HOSTILE}, text=True)
    assert printed.strip() == str(" avx2 " in Path("/proc/cpuinfo").read_text())


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="needs a processor with AVX2")
def test_too_late_a_call_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(AssertionError, match="before PyTorch's first computation"):
        numerics.configure("portable")
