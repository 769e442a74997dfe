"""PyTorch's own arithmetic, for comparison: among several workers, with the gradients of all images."""

from typing import Any

import torch
from samebits import workers
from samebits.errors import refusal
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

OF_ALL = "with several workers, draw for the images of all: samebits.draw(images, lambda n: torch.rand(n))"
RANDOM = {
    torch.rand,
    torch.randn,
    torch.randint,
    torch.rand_like,
    torch.randn_like,
    torch.randint_like,
    torch.bernoulli,
    torch.randperm,
}
DROPOUT = {functional.dropout, functional.dropout1d, functional.dropout2d, functional.dropout3d}


class native(TorchFunctionMode):  # noqa: N801
    """A context like exact(), which makes no promise; for one worker it changes nothing.

    Several give what one gives, up to rounding, with any loss that is a mean over images: loss.backward() leaves the
    gradients of all. Raises NotExactError for what a share of the images would change, as far as that can be seen.
    """

    def __enter__(self) -> "native":
        """Look on, if there are several workers."""
        self.is_shared = workers.size() > 1
        if self.is_shared:
            super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """Look away."""
        if self.is_shared:
            super().__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do for all images what would else be done for this worker's."""
        kwargs = kwargs or {}
        if func is Tensor.backward:
            return backward(*args, **kwargs)
        if func in DROPOUT and kwargs.get("training", True):
            x, *rest = args
            return x * workers.draw(x, lambda n: func(x.new_ones(n, *x.shape[1:]), *rest, **kwargs))
        if func is functional.batch_norm and kwargs.get("training"):
            raise refusal("batch_norm", "each worker would normalize its own images; take exact(), or one worker")
        if kwargs.get("reduction") == "sum":
            raise refusal("a sum of losses", "only a mean can be taken over the images of all workers")
        if func in (torch.autograd.backward, torch.autograd.grad):
            raise refusal(func.__name__, "only loss.backward() adds up the gradients of all workers")
        result = func(*args, **kwargs)
        if func in RANDOM and workers.are_sizes_of_images(result.shape):
            raise refusal(func.__name__, OF_ALL)
        return result


def backward(loss: Tensor, **kwargs: Any) -> None:
    """Add the gradients of all workers' mean loss, as Tensor.backward adds those of a worker's own."""
    parameters, part = leaves(loss), workers.part()
    before = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    if part:
        (loss * part).backward(**kwargs)
    own = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    for parameter, gradient, old in zip(parameters, workers.total(*own), before, strict=True):
        parameter.grad = gradient.to(parameter) if old is None else old.add_(gradient.to(parameter))


def leaves(loss: Tensor) -> list[Tensor]:
    """The tensors whose gradients `loss.backward()` would change, in the order of the graph, the same for all."""
    found, seen, waiting = [], set(), [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            if hasattr(node, "variable"):
                found.append(node.variable)
            waiting += [after for after, _ in node.next_functions]
    return found
