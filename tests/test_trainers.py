"""A changed training ends the same wherever it was interrupted, lengthened or shared out among workers."""

import subprocess
from contextlib import chdir
from pathlib import Path

from tests.project import QUICK, ROOT
from tests.trainers import CHANGES, Averaged, Cosine, Stopped, Trainer, trained

import pytest

Change = type[CHANGES[0]]


@pytest.mark.parametrize("numerics", ["exact", "native"])
@pytest.mark.parametrize("change", CHANGES)
def test_where_it_was_interrupted_or_lengthened_changes_nothing(change: Change, numerics: str, tmp_path: Path) -> None:
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
    assert average != plain and same == losses


@pytest.mark.slow
def test_three_workers_train_as_one_does(tmp_path: Path) -> None:
    lines = []
    for number, launch in enumerate([[], ["torch.distributed.run", "--standalone", "--nproc-per-node=3", "-m"]]):
        (tmp_path / str(number)).mkdir()
        environment = QUICK | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = ["python", "-m", *launch, "tests.trainers"]
        done = subprocess.run(command, cwd=tmp_path / str(number), env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        lines.append([line for line in done.stdout.splitlines() if not line.startswith("numerics:")])
    alone, together = lines
    assert len(alone) == len(together) == 2 * len(CHANGES)
    for one, other in zip(alone, together, strict=True):
        if one.startswith("exact"):
            assert one == other
        else:
            losses = [[float(word.strip("[],")) for word in line.split()[4:]] for line in (one, other)]
            assert losses[1] == pytest.approx(losses[0], rel=1e-4)
