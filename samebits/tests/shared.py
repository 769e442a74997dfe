"""Operations on images that workers share: prints what each gives for all images, or that it is refused."""

from collections.abc import Callable

import samebits
import torch
from samebits import workers
from torch.nn import functional

# A worker that has only some of the images can do these as if it had all ...
SHARED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "mean of each feature": lambda x: x.mean(0),
    "deviation of each feature": lambda x: x.std(0),
    "norm": lambda x: x.norm(),
    "count": lambda x: (x > 0.5).sum(),
    "largest of each image": lambda x: x - x.amax(1, keepdim=True),
    "some features": lambda x: x[:, :3] * x[..., 3:],
    "rows of features": lambda x: x.view(-1, 2).mean(0),
    "dropout": lambda x: functional.dropout(x, 0.5),
    "whole channels dropped": lambda x: functional.dropout2d(x.unflatten(1, (3, 2)).unsqueeze(-1), 0.5),
    "loss of labels": lambda x: functional.nll_loss(x.log_softmax(1), x.argmax(1)),
}
# ... and these need all of them.
REFUSED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "largest": lambda x: x / x.abs().max(),
    "largest of each feature": lambda x: x - x.amax(0),
    "softmax over images": lambda x: x.softmax(0),
    "first image": lambda x: x - x[0],
    "every other image": lambda x: x[::2],
    "sorted": lambda x: x.sort(0)[0],
    "without dimensions of size 1": lambda x: x.squeeze(),
    "any": lambda x: (x > 0.5).any(),
    "turned round": lambda x: x.flip(0),
    "each with each": lambda x: x @ x.t(),
    "each feature with each": lambda x: x.t() @ x,
    "drawn for its own": lambda x: x + torch.rand(x.shape),
}


def result(operation: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> str:
    """Of all images, as text."""
    torch.manual_seed(1)
    try:
        with samebits.exact():
            y = operation(workers.share(images))
    except samebits.NotExactError:
        return "refused"
    if hasattr(y, "of_images"):
        y = torch.cat(workers.gathered(y))
    return str(y.double().tolist())


if __name__ == "__main__":
    x = torch.rand(7, 6, generator=torch.Generator().manual_seed(0))
    with workers.joined():
        for name, operation in (SHARED | REFUSED).items():
            found = result(operation, x)
            if workers.rank() == 0:
                print(f"{name}: {found}", flush=True)
