"""Train every candidate of the grid with every seed, say which is best, and test that one.

Reads data/raw; writes plots/sweep/series.csv, plots/sweep/settings.csv, plots/sweep/settings.png, metrics/sweep.json
and sweep/answer.md. Each model is trained by the train stage's own functions, exactly as `dvc exp run` would, and kept
where that would look for it. Workers of torchrun share the models out. The test images are looked at once, by the best.
"""

from typing import Any

from stages import evaluate, train
from stages.lib import checkpoint, data, model, numerics, output, plot, tensors, workers
from stages.lib.params import Params
from stages.lib.tensors import Tensors
from sweep import answer, comparison, grid

import pandas
import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

Model = tuple[list[dict[str, float | None]], nn.Module]  # the history of a training, and the network it led to


def fit(settings: Params, images: Tensors, files: list[bytes], bar: Any) -> Model:
    """Train one model from the initial weights that the build stage would draw."""
    network = model.empty(settings.model, settings.hidden_units)
    model.initialize(network, torch.Generator().manual_seed(settings.seed))
    initial = checkpoint.encode(network.state_dict(), settings.initial())
    history, done = [], 0
    with workers.alone():
        for history in train.trained(network, images, settings, [*files, initial]):
            bar.update(workers.counted("epochs", len(history) - done) - bar.n)
            done = len(history)
    return history, network


def fit_all(jobs: list[Params], images: Tensors, files: list[bytes]) -> list[Model]:
    """All models, in the order of `jobs`; each worker takes the next job when it has finished one."""
    own: dict[int, Model] = {}
    total = sum(settings.epochs for settings in jobs)
    with tqdm(total=total, unit="epoch", disable=None if workers.rank() == 0 else True) as bar:
        while (number := workers.counted("jobs") - 1) < len(jobs):
            own[number] = fit(jobs[number], images, files, bar)
        workers.meet("all jobs")
    found = {number: trained for part in workers.gathered(own) for number, trained in part.items()}
    return [found[number] for number in range(len(jobs))]


def test(networks: list[nn.Module], images: Tensors, settings: Params) -> dict[str, float | int]:
    """Mean and standard deviation of accuracy and loss over the models of one candidate, on the test images."""
    accuracy, loss = [], []
    arithmetic = numerics.arithmetic(settings.numerics, settings.device, images=len(images.labels))
    for network in networks:
        logits = evaluate.predict(network, images, arithmetic)
        with arithmetic:
            loss.append(functional.cross_entropy(logits, images.labels).item())
        accuracy.append(int((logits.argmax(1) == images.labels).sum()) / len(images.labels))
    measured = comparison.spread("accuracy", accuracy) | comparison.spread("loss", loss)
    return measured | {"models": len(networks), "total": len(images.labels)}


def series(candidates: list[grid.Candidate], histories: list[list[Any]]) -> pandas.DataFrame:
    """A row for each epoch of each model: the settings that vary, seed, epoch and what was measured."""
    return pandas.concat(
        train.table(history).assign(**candidate, seed=seed)[[*candidate, "seed", *train.table(history).columns]]
        for candidate, of_seeds in zip(candidates, histories, strict=True)
        for seed, history in enumerate(of_seeds)
    )


def main() -> None:
    candidates, settings = grid.load()
    jobs = [model_settings for of_seeds in settings for model_settings in of_seeds]
    with workers.joined():
        images = tensors.to_tensors(data.load_train(jobs[0].dataset))
        models = fit_all(jobs, images, [data.read(path) for path in data.TRAIN_FILES])
        is_first = workers.rank() == 0
    if is_first:
        seeds = len(settings[0])
        write(candidates, settings, [models[start : start + seeds] for start in range(0, len(models), seeds)])


def write(candidates: list[grid.Candidate], settings: list[list[Params]], models: list[list[Model]]) -> None:
    """Compare the candidates by the last epoch on the images held out, test the best, and write what came out."""
    histories = [[history for history, _ in of_seeds] for of_seeds in models]
    accuracy, loss = (
        [[history[-1][name] for history in of_seeds] for of_seeds in histories]
        for name in ("validation_accuracy", "validation_loss")
    )
    rows = comparison.compare(accuracy, loss)
    table = pandas.DataFrame([candidates[row.pop("candidate")] | row for row in [dict(row) for row in rows]])
    best = rows[0]["candidate"]
    images = tensors.to_tensors(data.load_test(settings[best][0].dataset))
    tested = test([network for _, network in models[best]], images, settings[best][0])
    text = answer.text(table, list(candidates[0]), tested)
    print(text)
    output.write_csv("plots/sweep/series.csv", series(candidates, histories))
    output.write_csv("plots/sweep/settings.csv", table)
    output.write_json("metrics/sweep.json", {"candidates": table.to_dict("records"), "test": tested})
    output.write_text("sweep/answer.md", text)
    plot.save(answer.figure(table, list(candidates[0])), "plots/sweep/settings.png")


if __name__ == "__main__":
    main()
