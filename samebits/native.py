"""PyTorch's own arithmetic, for comparison: among several workers, with the gradients of all images."""

from typing import Any

import torch
from samebits import marks, tables, workers
from samebits.errors import check_l1_loss, refusal
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

OF_ALL = "with several workers, draw for the images of all: samebits.draw(images, lambda n: torch.rand(n))"
DRAWS = (
    "rand randn randint rand_like randn_like randint_like randperm normal normal_ uniform_ random_ exponential_ "
    "bernoulli bernoulli_ multinomial alpha_dropout feature_alpha_dropout rrelu gumbel_softmax"
)
MODULES = torch, Tensor, functional
RANDOM = {getattr(module, name) for name in DRAWS.split() for module in MODULES if hasattr(module, name)}
DROPOUT = {functional.dropout, functional.dropout1d, functional.dropout2d, functional.dropout3d}
LABELED = {functional.cross_entropy, functional.nll_loss}  # whose mean is over the sum of the weights of the labels


class native(TorchFunctionMode):  # noqa: N801
    """A context like exact(), which makes no promise; for one worker it changes nothing.

    Several give what one gives, up to rounding, with any loss that is a mean over images: loss.backward() leaves the
    gradients of all. Raises NotExactError for what a share of the images would change, as far as that can be seen.
    """

    def __enter__(self) -> "native":
        self.is_shared = workers.size() > 1
        if self.is_shared:
            super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self.is_shared:
            super().__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in tables.VIEWS:
            args = marks.sized(args)
        if func is Tensor.backward:
            return backward(*args, **kwargs)
        if func in DROPOUT and kwargs.get("training", True):
            x, *rest = args
            return x * workers.draw(x, lambda n: func(x.new_ones(n, *x.shape[1:]), *rest, **kwargs))
        if func in LABELED and kwargs.get("reduction", "mean") == "mean" and not args[1].is_floating_point():
            return mean_of_labels(func, *args, **kwargs)
        check_l1_loss(func)
        if func is functional.batch_norm and kwargs.get("training"):
            raise refusal("batch_norm", "each worker would normalize its own images; take exact(), or one worker")
        if kwargs.get("reduction") == "sum" or (func is functional.mse_loss and kwargs.get("weight") is not None):
            raise refusal("such a loss", "of several workers only a mean over images can be taken")
        if func in (torch.autograd.backward, torch.autograd.grad):
            raise refusal(func.__name__, "only loss.backward() adds up the gradients of all workers")
        result = func(*args, **kwargs)
        if func in RANDOM and workers.are_sizes_of_images(result.shape):
            raise refusal(func.__name__, OF_ALL)
        return result


def mean_of_labels(loss: Any, logits: Tensor, labels: Tensor, **kwargs: Any) -> Tensor:
    """This worker's part of the mean over the labels of all workers, for `backward` and workers.mean to add up."""
    weight = kwargs.get("weight")
    kept = labels[labels != kwargs.get("ignore_index", -100)]
    (divisor,) = workers.total(torch.as_tensor(len(kept)) if weight is None else weight[kept].sum())
    own = loss(logits, labels, **kwargs | {"reduction": "sum"})
    return own / divisor.to(own) / (workers.part() or 1)


def backward(loss: Tensor, *args: Any, **kwargs: Any) -> None:
    """Add the gradients of all workers' mean loss, as Tensor.backward adds those of a worker's own."""
    parameters, part = leaves(loss), workers.part()
    before = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    if part:
        (loss * part).backward(*args, **kwargs)
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
