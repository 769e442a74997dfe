"""How numbers are computed: `exact`, with the same bits everywhere, or `native`, in the machine's own fastest way."""

import os
from contextlib import AbstractContextManager, nullcontext

from stagecraft.errors import PipelineError

import samebits
import torch

Arithmetic = AbstractContextManager[None]
# Without it cuBLAS is not even deterministic: https://docs.nvidia.com/cuda/cublas/#results-reproducibility
CUBLAS_WORKSPACE = ":4096:8"


def arithmetic(numerics: str, device: str) -> Arithmetic:
    """The context of `exact` or `native` arithmetic, around ordinary PyTorch code.

    With one thread, unless the user has set OMP_NUM_THREADS: for small matrices, more only make it slower.
    Raises PipelineError if the device can't do it.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    if numerics == "native":
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = CUBLAS_WORKSPACE
        torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms(True) without importing its compiler
        if samebits.workers.size() > 1 and samebits.workers.rank() == 0:
            print("numerics: native rounds in another way for each number of workers: no promise of the same bytes")
        return nullcontext()
    if device == "mps":
        raise PipelineError(
            "device: mps has no float64, which `numerics: exact` needs; set device: cpu, or numerics: native"
        )
    return samebits.exact()
