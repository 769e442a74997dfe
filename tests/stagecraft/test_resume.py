import os
from contextlib import chdir
from pathlib import Path

from stagecraft import resume
from stagecraft.errors import PipelineError
from stages.lib.params import Training

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import MultiStepLR, OneCycleLR, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel

SETTINGS = {"lr": 0.1, "momentum": 0.5, "epochs": 3, "numerics": "exact", "validation_images": 0}
HISTORY = [{"train_loss": 0.5}]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path):
    with chdir(tmp_path):
        yield tmp_path


class Trainer:
    """A network after some steps, so that the optimizer has a state, and other things that a loop may make."""

    def __init__(self, steps: int = 1) -> None:
        self.network = nn.Linear(3, 2)
        self.optimizer = SGD(self.network.parameters(), lr=0.1, momentum=0.5, weight_decay=0.1)
        self.schedule = [OneCycleLR(self.optimizer, 0.5, 20), ReduceLROnPlateau(self.optimizer, "max", patience=0)]
        self.milestones = MultiStepLR(Adam([torch.zeros(1)], amsgrad=True), [1, 3])
        self.average = AveragedModel(self.network)
        self.drawn, self.best, self.seen, self.names = torch.Generator(), 0.1 + 0.2, None, {"a": [torch.ones(2), "b"]}
        for _ in range(steps):
            self.step()

    def step(self) -> list[torch.Tensor]:
        self.optimizer.zero_grad()
        self.network(torch.rand(1, 3, generator=self.drawn)).square().sum().backward()
        self.optimizer.step()
        self.schedule[0].step()
        self.schedule[1].step(self.best)
        self.average.update_parameters(self.network)
        self.best /= 3
        self.names["a"].append(self.best)
        return [*map(torch.clone, self.average.state_dict().values()), torch.tensor(self.names["a"][2:])]


def keep(name: str = "key", trainer: Trainer | None = None, history: resume.History = HISTORY) -> Path:
    """The file in which the state of a training is kept."""
    resume.save(name, trainer or Trainer(), history, None)
    return resume.FOLDER / name


@pytest.mark.parametrize("steps", [0, 3])
def test_the_next_steps_are_the_same_after_restoring(steps):
    saved, restored = Trainer(2), Trainer(steps)
    losses = [{"train_loss": 0.1 + 0.2, "validation_loss": None}, {"train_loss": 5e-324}]
    keep("key", saved, losses)
    assert resume.restore("key", 3, restored) == losses
    # Gradients, too, as they may wait for more batches
    assert torch.equal(restored.network.weight.grad, saved.network.weight.grad)
    for _ in range(3):
        assert all(torch.equal(*pair) for pair in zip(saved.step(), restored.step(), strict=True))


def test_what_can_t_be_kept_or_is_made_too_late_is_refused_by_its_name():
    trainer = Trainer()
    trainer.later, trainer.count = nn.Linear(1, 1), 3
    keep("key", trainer)
    with pytest.raises(PipelineError, match=r"Trainer.later is made too late to be restored; make it in"):
        resume.restore("key", 3, Trainer())
    trainer.names["c"] = [iter([1])]
    with pytest.raises(PipelineError, match=r"^Trainer.names\['c'\]\[0\] is a list_iterator, which can't be kept"):
        keep("key", trainer)
    del trainer.schedule
    with pytest.raises(PipelineError, match=r"a schedule changes an optimizer, SGD, .* set it in Trainer.__init__"):
        keep("key", trainer)


def test_a_state_of_more_epochs_or_that_their_number_has_shaped_is_not_used(capsys):
    assert resume.restore("key", 3, Trainer()) == []
    keep(history=HISTORY * 2)
    assert resume.restore("key", 1, Trainer()) == []
    resume.save("key", Trainer(), HISTORY, 3)
    assert resume.restore("key", 3, Trainer()) == HISTORY
    assert resume.restore("key", 4, Trainer()) == []
    assert "reads `epochs`, which were 3: it starts from the beginning" in capsys.readouterr().out


def test_settings_say_whether_epochs_were_read():
    settings = Training.model_construct(**SETTINGS)
    one, all_at_once = resume.Recorded(settings), resume.Recorded(settings)
    assert (one.lr, one.momentum, one.names) == (0.1, 0.5, {"lr", "momentum"})
    assert (one.training_images(9), one.names) == (9, {"lr", "momentum", "validation_images"})
    all_at_once.model_dump()
    assert "epochs" in all_at_once.names


@pytest.mark.parametrize("position", [0, 40, 500, -1, None])
def test_a_state_that_is_damaged_or_another_s_is_ignored_with_a_line(position, capsys):
    content = bytearray(keep("other" if position is None else "key").read_bytes())
    content[position or 0] ^= position is not None
    (resume.FOLDER / "key").write_bytes(content)
    trainer = Trainer()
    before = trainer.network.weight.clone()
    assert resume.restore("key", 3, trainer) == []
    assert torch.equal(trainer.network.weight, before)
    assert "key is damaged or of another training" in capsys.readouterr().out


def test_a_cache_that_can_t_be_used_stops_no_training(capsys):
    (resume.FOLDER / "key").mkdir(parents=True)
    assert resume.restore("key", 3, Trainer()) == []
    assert "damaged or of another training" in capsys.readouterr().out
    keep("key").rmdir()
    assert "would start from the beginning: can't write .train_cache/key: Is a directory" in capsys.readouterr().out
    resume.FOLDER.rmdir()
    resume.FOLDER.touch()
    keep()
    assert resume.restore("key", 3, Trainer()) == []


def test_old_states_go(monkeypatch):
    size = keep("key0").stat().st_size
    monkeypatch.setattr(resume, "KEPT", 4 * size + size // 2)
    for index in range(7):
        os.utime(keep(f"key{index}"), ns=(index, index))
    keep("key0")
    assert {path.name for path in resume.FOLDER.iterdir()} == {"key0", "key4", "key5", "key6"}
    monkeypatch.setattr(resume, "KEPT", size - 1)
    keep("key9")
    assert {path.name for path in resume.FOLDER.iterdir()} == {"key9"}  # the newest stays, however large


def key(content: bytes = b"a", code: list[Path] | None = None, *, exact: bool = True, **changes: object) -> str:
    """The fingerprint of a training on a file that holds an a, or other content, with changed settings."""
    return resume.fingerprint(resume.facts(SETTINGS | changes, [content], code or [], exact=exact))


def test_only_arithmetic_that_is_not_exact_depends_on_versions_and_processor(monkeypatch):
    before, natively = key(), {key(exact=False)}
    changes = dict.fromkeys(["sys.version", "torch.__version__", "numpy.__version__"], "3.99")
    changes |= dict.fromkeys(["platform.machine", "torch.backends.cpu.get_cpu_capability"], lambda: "another")
    for name, changed in changes.items():
        monkeypatch.setattr(name, changed)
        natively.add(key(exact=False))
    assert len(natively) == 6 and key() == before


def test_the_fingerprint_depends_on_settings_but_for_epochs_on_data_and_on_the_code_as_it_was_loaded(folder):
    def code(name: str, content: bytes) -> list[Path]:
        (folder / name).write_bytes(content)
        return [folder / name]

    before = key(code=code("one", b"a = 1\n"))
    assert key(code=code("another", b"a = 1\r\n"), epochs=9) == before
    assert key(code=code("one", b"a = 2\n")) == before  # which was loaded before
    others = key(code=code("other code", b"a = 2\n")), key(lr=0.2, code=code("one", b"")), key(b"b", code("one", b""))
    assert before not in others
