"""How numbers are computed: the choices that make the same bytes come out on every x86-64 machine.

Floating-point addition is not associative, so a library that picks other instructions or other thread counts for
another processor rounds differently, and training amplifies one different rounding into different weights. MKL and
PyTorch read these variables at their first computation, not at import, so `configure` must come before any.
"""

import os
import warnings

import torch

PORTABLE = {
    "ATEN_CPU_CAPABILITY": "avx2",  # PyTorch's own kernels: one set of instructions, whether or not there is AVX-512
    "MKL_CBWR": "COMPATIBLE",  # MKL's matrix products: the one code path that Intel and AMD processors share
}
# cuBLAS is deterministic only with a fixed workspace:
# https://docs.nvidia.com/cuda/cublas/#results-reproducibility
CUBLAS_WORKSPACE = ":4096:8"


def has_avx2() -> bool:
    """Whether the processor has what `portable` needs; asks the processor, not PyTorch's variables."""
    return bool(torch.cpu.get_capabilities().get("avx2"))


def configure(numerics: str) -> None:
    """Fix how torch computes in this process: `portable`, or `native` for the machine's own fastest instructions.

    Either way with one thread, since the order of a sum depends on the number of threads, and with deterministic
    algorithms only.
    """
    if numerics == "portable" and has_avx2():  # PyTorch would believe the variable and die of an illegal instruction
        os.environ.update(PORTABLE)
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = CUBLAS_WORKSPACE
    torch.set_num_threads(1)
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms(True) without importing its compiler
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # saves time
    capability = torch.backends.cpu.get_cpu_capability()
    assert numerics == "native" or capability != "AVX512", "configure must come before PyTorch's first computation"
    if numerics == "portable" and capability != "AVX2":
        warnings.warn(
            f"numerics: portable needs an x86-64 processor with AVX2, but PyTorch uses {capability} here; "
            "results will be right but not the recorded bytes",
            stacklevel=2,
        )
