"""The pins hold in a process whose user has set the variables to something else."""

import os
import subprocess
import sys

from stages.lib import numerics

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


def test_avx2_is_seen_whatever_the_variables_say() -> None:
    assert numerics.has_avx2() == (torch.cpu.get_capabilities()["avx2"] is True)
