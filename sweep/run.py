"""Train every candidate of the grid with every seed, say which is best, and test that one.

Reads data/raw; writes plots/sweep/series.csv, plots/sweep/settings.csv, plots/sweep/settings.png, metrics/sweep.json
and sweep/answer.md. Each model is trained by the train stage's own functions, exactly as `dvc exp run` would, and kept
where that would look for it. Workers of torchrun share the models out. The test images are looked at once, by the best.
"""

import time
from typing import Any

from stagecraft import checkpoint, inputs, output
from stagecraft.errors import PipelineError
from stagecraft.resume import History
from stages import evaluate, train
from stages.lib import data, model, numerics, plot, tensors
from stages.lib.params import Params
from stages.lib.tensors import Tensors
from sweep import answer, comparison, grid

import pandas
import torch
from samebits import NotExactError, WorkersError, workers
from torch import nn
from torch.nn import functional
from tqdm import tqdm

LINES = 20  # that say how far it is where there is no terminal
LINE = "{n_fmt} of {total_fmt} epochs of all models, {remaining} left"
Own = dict[int, tuple[History, nn.Module]]  # by number, the models that this worker has trained


class Progress:
    """The epochs done by all workers; the first shows them, as a bar on a terminal and else in a line now and then."""

    def __init__(self, total: int) -> None:
        self.total, self.start, self.lines = total, time.monotonic(), 0
        self.is_shown = workers.rank() == 0
        self.bar = tqdm(total=total, unit="epoch", disable=None if self.is_shown else True)

    def add(self, epochs: int) -> int:
        """Count epochs of this worker; returns how many all have done."""
        done = workers.counted("epochs", epochs)
        self.bar.update(done - self.bar.n)
        lines = done * LINES // self.total
        if self.is_shown and self.bar.disable and lines > self.lines:
            print(tqdm.format_meter(done, self.total, time.monotonic() - self.start, bar_format=LINE), flush=True)
            self.lines = lines
        return done

    def wait(self) -> None:
        """Until all workers have done all, however long that takes."""
        while self.add(0) < self.total:
            time.sleep(0.1)
        self.bar.close()


def fit(settings: Params, images: Tensors, files: list[bytes], progress: Progress) -> tuple[History, nn.Module]:
    """Train one model from the initial weights that the build stage would draw."""
    network = model.empty(settings)
    model.initialize(network, torch.Generator().manual_seed(settings.seed))
    initial = checkpoint.encode(network.state_dict(), settings.initial())
    network.to(images.images.device)
    done = 0
    with workers.alone():
        for history in train.trained(network, images, settings, [*files, initial]):
            progress.add(len(history) - done)
            done = len(history)
    return history, network


def fit_own(jobs: list[Params], varied: list[str], images: Tensors, files: list[bytes]) -> Own:
    """Train what no other worker has begun, one model after the other, until all workers have trained all.

    Raises PipelineError, which names the model, if one can't be trained.
    """
    own: Own = {}
    progress = Progress(sum(settings.epochs for settings in jobs))
    while (number := workers.counted("jobs") - 1) < len(jobs):
        try:
            own[number] = fit(jobs[number], images, files, progress)
        except (PipelineError, NotExactError) as error:
            name = answer.name(jobs[number].model_dump(), [*varied, "seed"])
            raise PipelineError(f"{name} of the sweep: {error}") from None
    progress.wait()
    return own


def score(network: nn.Module, images: Tensors, settings: Params) -> tuple[float, float]:
    """Accuracy and loss of a model on the test images, as the evaluate stage has them."""
    arithmetic = numerics.arithmetic(settings.numerics, "cpu")
    logits = evaluate.predict(network.cpu(), images, arithmetic)
    with arithmetic:
        loss = functional.cross_entropy(logits, images.labels).item()
    return int((logits.argmax(1) == images.labels).sum()) / len(images.labels), loss


def test(numbers: range, own: Own, jobs: list[Params]) -> dict[str, float | int]:
    """Mean and standard deviation over these models on the test images; each is tested by who has trained it."""
    images = tensors.to_tensors(data.load_test(jobs[0].dataset))
    scores = {number: score(own[number][1], images, jobs[number]) for number in numbers if number in own}
    workers.meet("tests")
    accuracy, loss = zip(*collected(scores, len(numbers))[0], strict=True)
    measured = comparison.spread("accuracy", accuracy) | comparison.spread("loss", loss)
    return measured | {"models": len(numbers), "total": len(images.labels)}


def collected(own: dict[int, Any], seeds: int) -> list[list[Any]]:
    """What all workers have, in the order of the models' numbers: a list for each candidate, with its seeds."""
    found = {number: value for part in workers.gathered(own) for number, value in part.items()}
    ordered = [found[number] for number in sorted(found)]
    return [ordered[start : start + seeds] for start in range(0, len(ordered), seeds)]


def series(candidates: list[grid.Candidate], histories: list[list[History]]) -> pandas.DataFrame:
    """A row for each epoch of each model: the settings that vary, seed, epoch and what was measured."""
    table = pandas.concat(
        train.table(history).assign(**candidate, seed=seed)
        for candidate, of_seeds in zip(candidates, histories, strict=True)
        for seed, history in enumerate(of_seeds)
    )
    first = [*candidates[0], "seed"]
    return table[[*first, *table.columns.drop(first)]]


def write(table: pandas.DataFrame, varied: list[str], tested: dict[str, Any]) -> None:
    """Write the answer: as text, which is printed, too, as tables and as a picture."""
    text = answer.text(table, varied, tested)
    print(text)
    output.write_text("sweep/answer.md", text)
    output.write_csv("plots/sweep/settings.csv", table)
    output.write_json("metrics/sweep.json", {"candidates": table.to_dict("records"), "test": tested})
    plot.save(answer.figure(table, varied), "plots/sweep/settings.png")


def main() -> None:
    with workers.joined((PipelineError, NotExactError, WorkersError)), inputs.unchanged("sweep", "sweep/dvc.yaml"):
        candidates, settings = grid.load()
        jobs, seeds, varied = [job for of_seeds in settings for job in of_seeds], len(settings[0]), [*candidates[0]]
        images = tensors.to_tensors(data.load_train(jobs[0].dataset), train.available(jobs[0].device, shared=True))
        own = fit_own(jobs, varied, images, [inputs.read(path) for path in data.TRAIN_FILES])
        histories = collected({number: history for number, (history, _) in own.items()}, seeds)
        accuracy, loss = (
            [[history[-1][name] for history in of_seeds] for of_seeds in histories]
            for name in ("validation_accuracy", "validation_loss")
        )
        ranking = comparison.compare(accuracy, loss)
        best = ranking[0]["candidate"]
        tested = test(range(len(jobs))[best * seeds :][:seeds], own, jobs)
        if workers.rank() == 0:
            output.write_csv("plots/sweep/series.csv", series(candidates, histories))
            table = pandas.DataFrame([candidates[row["candidate"]] | row for row in ranking]).drop(columns="candidate")
            write(table, varied, tested)


if __name__ == "__main__":
    main()
