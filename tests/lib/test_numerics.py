from stages.lib import numerics

import pytest
import torch


@pytest.mark.parametrize(("own", "threads"), [({}, 1), ({"OMP_NUM_THREADS": "2"}, 2)])
def test_one_thread_computes_unless_the_user_has_set_how_many(
    own: dict[str, str], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    torch.set_num_threads(2)
    try:
        numerics.arithmetic("exact", "cpu")
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
