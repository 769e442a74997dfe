from stages.lib import numerics

import pytest
import torch


def test_one_thread_computes_unless_the_user_has_set_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    numerics.arithmetic("exact", "cpu")
    assert threads == []
    monkeypatch.delenv("OMP_NUM_THREADS")
    numerics.arithmetic("exact", "cpu")
    assert threads == [1]
