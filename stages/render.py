"""Look at the training images before training on them.

Reads data/raw; writes the pictures of plots/samples.
"""

from stagecraft import inputs
from stages.lib import data, params, plot

import numpy as np
import torch
from matplotlib.figure import Figure


def views(image: torch.Tensor) -> dict[str, np.ndarray | torch.Tensor]:
    """Three routes from an image (1, 28, 28), channel first, to the (28, 28) that imshow takes, by their shapes."""
    array, last = image.numpy(), image.permute(1, 2, 0)
    routes = (
        ("tensor", "channel, row, column", image, "squeeze()", image.squeeze()),
        ("numpy()", "channel, row, column", array, "squeeze()", array.squeeze()),
        ("permute(1, 2, 0)", "row, column, channel", last, "squeeze(2)", last.squeeze(2)),
    )
    return {
        f"{name}\n{layout}: {tuple(whole.shape)}\n{how} → {tuple(flat.shape)}": flat
        for name, layout, whole, how, flat in routes
    }


def first_of_each_class(split: data.Split, count: int) -> np.ndarray:
    """The first `count` images of every class, class by class: (10 * count, 28, 28) uint8.

    A class with fewer images is filled up with empty ones.
    """
    images = np.zeros((10, count, *split.images.shape[1:]), np.uint8)
    for label in range(10):
        found = split.images[split.labels == label][:count]
        images[label, : len(found)] = found
    return images.reshape(-1, *split.images.shape[1:])


def class_grid(images: np.ndarray, count: int, classes: tuple[str, ...]) -> Figure:
    """Ten rows, one for each class with its name, of `count` images each; images: (10 * count, 28, 28)."""
    figure = Figure(figsize=(max(4, 0.48 * count + 0.5), 5.4))
    axes = figure.add_subplot()
    axes.imshow(plot.mosaic(images, count))
    size = images.shape[1] + 1
    axes.set_yticks([size * label + size / 2 for label in range(10)], classes)
    axes.set(xticks=[], ylabel="class")
    figure.suptitle(f"The first {count} training images of each class")
    plot.bare(axes)
    return figure


@inputs.unchanged("render")
def main() -> None:
    settings = params.load()
    train, classes = data.load_train(settings.dataset), data.DATASETS[settings.dataset].classes
    count = settings.row_images
    images = torch.from_numpy(train.images[:count] / np.float32(255)).unsqueeze(1)  # (n, 1, 28, 28), as in torchvision
    labels = train.labels[:count].tolist()
    print(f"{len(train.labels):,} training images; the first is {tuple(images[0].shape)} with label {labels[0]}")

    titles = [f"Class : {classes[label]}" for label in labels]
    plot.save(plot.titled_images([images[0, 0]], titles[:1], 1, 4.0), "plots/samples/digit.png")
    routes = views(images[0])
    plot.save(plot.titled_images(list(routes.values()), list(routes), 3, 2.7), "plots/samples/views.png")
    plot.save(plot.titled_images(list(images[:, 0]), titles, 10, 0.95), "plots/samples/row.png")
    grid = first_of_each_class(train, settings.images_per_class)
    plot.save(class_grid(grid, settings.images_per_class, classes), "plots/samples/grid.png")


if __name__ == "__main__":
    main()
