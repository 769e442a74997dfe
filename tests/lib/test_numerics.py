import os
import subprocess
import sys

import pytest

# What a process computes with after `configure`, though its environment asks for something else.
PROBE = """
import os, torch
from stages.lib import numerics
numerics.configure({numerics!r})
print(torch.backends.cpu.get_cpu_capability(), os.environ.get("MKL_CBWR"), torch.get_num_threads(),
      torch.are_deterministic_algorithms_enabled())
"""
HOSTILE = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "AVX2", "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}


@pytest.mark.parametrize(
    ("numerics", "expected"), [("portable", "AVX2 COMPATIBLE 1 True"), ("native", "DEFAULT AVX2 1 True")]
)
def test_configure_decides_whatever_the_environment_says(numerics: str, expected: str) -> None:
    probe = [sys.executable, "-W", "error", "-c", PROBE.format(numerics=numerics)]
    result = subprocess.run(probe, env=os.environ | HOSTILE, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == expected
