from stages.lib import numerics

import pytest
import torch


def test_one_thread_computes_unless_the_user_has_set_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        numerics.arithmetic("exact", "cpu")
        assert torch.get_num_threads() == 2
        monkeypatch.delenv("OMP_NUM_THREADS")
        numerics.arithmetic("exact", "cpu")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
