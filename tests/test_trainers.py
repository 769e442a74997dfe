"""A changed training ends the same wherever it was interrupted, lengthened or shared out among workers."""

from contextlib import chdir
from pathlib import Path

from tests.project import ROOT, run
from tests.trainers import CHANGES, Averaged, Cosine, Stopped, Trainer, trained

import pytest


@pytest.mark.parametrize("numerics", ["exact", "native"])
@pytest.mark.parametrize("change", CHANGES)
def test_where_it_was_interrupted_or_lengthened_changes_nothing(change, numerics, tmp_path):
    found = []
    for name, first in (("whole", {}), ("killed", {"most": 2}), ("lengthened", {"epochs": 2})):
        (tmp_path / name).mkdir()
        with chdir(tmp_path / name):
            if first:
                trained(change, numerics=numerics, **first)
            found.append(trained(change, numerics=numerics))
    (lengths, *whole), (after_kill, *killed), (after_two, *lengthened) = found
    assert lengths == ([0, 1, 2, 3] if change is Stopped else [0, 1, 2, 3, 4])
    assert after_kill == lengths[2:]
    assert after_two == (lengths if change is Cosine else lengths[2:])  # which is another one for two epochs
    assert killed == lengthened == whole


def test_what_is_left_is_what_the_trainer_says(tmp_path: Path) -> None:
    with chdir(tmp_path):
        (_, _, plain, losses), (_, _, average, same) = trained(Trainer), trained(Averaged)
    assert average != plain and same[::2] == losses[::2]  # in training


def lines(folder: Path, *launch: str) -> list[list[str]]:
    """The words of each line that tests.trainers prints."""
    folder.mkdir()
    printed = run(
        "env", "OMP_NUM_THREADS=1", f"PYTHONPATH={ROOT}", "python", "-m", *launch, "tests.trainers", cwd=folder
    )
    return [line.split() for line in printed.splitlines()]


@pytest.mark.slow
def test_three_workers_train_as_one_does_and_promise_no_bytes_of_native_numbers(tmp_path: Path) -> None:
    alone = lines(tmp_path / "alone")
    together = lines(tmp_path / "together", "torch.distributed.run", "--standalone", "--nproc-per-node=3", "-m")
    told = [line for line in together if line[0] == "numerics:"]
    assert len(told) == len(CHANGES) and " ".join(told[0]).endswith("no promise of the same bytes")
    found = [line for line in together if line[0] != "numerics:"]
    assert len(alone) == len(found) == 2 * len(CHANGES)
    assert found[: len(CHANGES)] == alone[: len(CHANGES)]
    for one, other in zip(alone[len(CHANGES) :], found[len(CHANGES) :], strict=True):
        losses = [[float(word.strip("[],")) for word in line[4:]] for line in (one, other)]
        assert losses[1] == pytest.approx(losses[0], rel=1e-4)
