"""Train every candidate of the grid with every seed, all at once, and validate each after each epoch.

Reads data/raw; writes models/sweep.safetensors and plots/sweep/series.csv (epoch, seed, lr, momentum, train_loss,
validation_loss, validation_correct). Never reads the test images.
"""

from stages.lib import checkpoint, data, numerics, output, params, tensors
from stages.lib.errors import PipelineError
from sweep import ensemble
from sweep.grid import Grid, load_grid

import numpy as np
import pandas
import torch
from tqdm import tqdm


def rows(epoch: int, grid: Grid, columns: dict[str, torch.Tensor]) -> pandas.DataFrame:
    """One row for each seed and candidate; columns: (seeds, candidates) by name."""
    models = [(epoch, seed, lr, momentum) for seed in range(grid.seeds) for lr, momentum in grid.candidates]
    table = pandas.DataFrame(models, columns=["epoch", "seed", "lr", "momentum"])
    return table.assign(**{name: values.flatten().numpy() for name, values in columns.items()})


def refuse_divergence(table: pandas.DataFrame) -> None:
    """Raise PipelineError if a loss of `rows` is infinite or not a number, naming the candidates to leave out."""
    lost = table[~np.isfinite(table[["train_loss", "validation_loss"]]).all(axis=1)]
    if len(lost):
        names = "; ".join(f"lr {row.lr}, momentum {row.momentum}, seed {row.seed}" for row in lost.itertuples())
        raise PipelineError(f"no finite loss after epoch {lost['epoch'].iloc[0]}: {names}; take them out of the grid")


def main() -> None:
    settings, grid = params.load(), load_grid()
    numerics.configure(settings.numerics)
    images, labels = tensors.to_tensors(data.load_train(settings.dataset))
    images, n = images.flatten(1), grid.training_images(len(labels), settings.batch_size)
    parameters = ensemble.initial(settings.model, settings.hidden_units, grid.seeds, len(grid.candidates))
    optimizers = ensemble.groups(parameters, grid.candidates)

    series = []
    with tqdm(total=settings.epochs * -(-n // settings.batch_size) * len(optimizers), unit="step") as bar:
        for epoch in range(1, settings.epochs + 1):
            orders = torch.stack([tensors.shuffled(n, seed, epoch) for seed in range(grid.seeds)])
            train_loss = ensemble.train_epoch(
                optimizers, images[:n], labels[:n], orders, settings.batch_size, bar.update
            )
            loss, correct = ensemble.evaluate(parameters, images[n:], labels[n:])
            measured = {"train_loss": train_loss, "validation_loss": loss, "validation_correct": correct}
            series.append(rows(epoch, grid, measured))
            refuse_divergence(series[-1])
            best = correct.double().mean(0).max() / grid.validation_images
            bar.set_description(f"epoch {epoch}/{settings.epochs}, best validation accuracy {best:.2%}")

    output.write_csv("plots/sweep/series.csv", pandas.concat(series))
    output.write_bytes("models/sweep.safetensors", checkpoint.encode(parameters, {"names": [*parameters]}))


if __name__ == "__main__":
    main()
