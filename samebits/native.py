"""PyTorch's own arithmetic, for comparison: among several workers, with the loss and gradients of all images."""

from typing import Any

from samebits import workers
from torch.nn import functional
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook
from torch.overrides import TorchFunctionMode


class native(TorchFunctionMode):  # noqa: N801
    """A context like exact(), which makes no promise; for one worker it changes nothing."""

    def __enter__(self) -> "native":
        """Join the gradients of all workers before each step of an optimizer."""
        if workers.size() > 1:
            self.hook = register_optimizer_step_pre_hook(lambda optimizer, *_: add_gradients(optimizer))
            super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """Leave what was entered."""
        if workers.size() > 1:
            super().__exit__(*error)
            self.hook.remove()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Take the mean loss over the images of all workers."""
        if func is not functional.cross_entropy:
            return func(*args, **(kwargs or {}))
        own = func(*args, **{**(kwargs or {}), "reduction": "sum"})
        total, n = workers.total(own.detach(), len(args[1]))
        return (own + (total - own.detach()).to(own)) / n.to(own)  # the value of all, the gradient of its own


def add_gradients(optimizer: Optimizer) -> None:
    """Put the sums over all workers in the place of an optimizer's gradients."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for parameter, gradient in zip(parameters, workers.total(*(p.grad for p in parameters)), strict=True):
        parameter.grad = gradient.to(parameter)
