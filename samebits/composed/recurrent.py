"""Recurrent layers: what PyTorch computes in one call, step by step, of linear layers and functions of one number.

Images, or whatever a batch is of, are the first dimension within, as several workers share them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from samebits import workers
from samebits.composed.noise import dropout
from samebits.errors import refusal
from torch import Tensor
from torch.nn import functional

State = tuple[Tensor, ...]  # (n, hidden) each
Tensors = Sequence[Tensor]
Step = Callable[[Tensor, Tensor, State], State]  # the state that follows, from sums of what is new and of what was


def step_of_lstm(new: Tensor, old: Tensor, state: State) -> State:
    """Hochreiter and Schmidhuber (1997), with the gate of Gers et al. (2000) that forgets."""
    write, keep, value, read = (new + old).chunk(4, 1)
    cell = keep.sigmoid() * state[1] + write.sigmoid() * value.tanh()
    return read.sigmoid() * cell.tanh(), cell


def step_of_gru(new: Tensor, old: Tensor, state: State) -> State:
    """Cho et al. (2014), with the reset after the product."""
    (reset, keep, value), (old_reset, old_keep, old_value) = new.chunk(3, 1), old.chunk(3, 1)
    value = (value + (reset + old_reset).sigmoid() * old_value).tanh()
    return ((state[0] - value) * (keep + old_keep).sigmoid() + value,)


def step_by(function: Callable[[Tensor], Tensor]) -> Step:
    """Elman (1990)."""
    return lambda new, old, state: (function(new + old),)


def cell(step: Step) -> Callable[..., Any]:
    """lstm_cell and its like: one step, of (n, features)."""

    def compute(x: Tensor, state: Any, w: Tensor, u: Tensor, b: Any = None, c: Any = None) -> Any:
        state = [of_batch(x, each) for each in ((state,) if isinstance(state, Tensor) else state)]
        found = step(functional.linear(x, w, b), functional.linear(state[0], u, c), state)
        return found if len(found) > 1 else found[0]

    return compute


def layers(step: Step) -> Callable[..., Any]:
    """lstm and its like: a sequence through one layer or several.

    It is (length, n, features), or (n, length, features), or packed: (all places, features), with those of each step.
    """

    def compute(x: Tensor, *args: Any) -> tuple[Tensor, ...]:
        sizes, *others = args if isinstance(args[0], Tensor) and not args[0].is_floating_point() else (None, *args)
        states, weights, has_biases, count, rate, training, bidirectional, *first = others
        ways, images_first = 1 + bidirectional, sizes is not None or first[0]
        each, biases = len(weights) // (count * ways), 2 if has_biases else 0
        x = x if images_first else x.transpose(0, 1)
        each_layer = [states.unbind()] if isinstance(states, Tensor) else [state.unbind() for state in states]
        starts = [[of_batch(x, state) for state in states] for states in each_layer]
        ends = []
        for layer in range(count):
            x = dropout(x, rate, training) if layer else x
            outputs = []
            for way in range(layer * ways, (layer + 1) * ways):
                state = tuple(start[way] for start in starts)
                own = weights[way * each : (way + 1) * each]
                own = own[:2], own[2 : 2 + biases], own[2 + biases :]
                output, state = through(step, x, sizes, state, *own, backwards=way % ways == 1)
                outputs.append(output)
                ends.append(state)
            x = torch.cat(outputs, -1) if bidirectional else outputs[0]
        x = x if images_first else x.transpose(0, 1).contiguous()
        return x, *(torch.stack(end) for end in zip(*ends, strict=True))

    return compute


def through(
    step: Step, x: Tensor, sizes: Tensor | None, state: State, weights: Tensors, biases: Tensors, projection: Tensors,
    backwards: bool,
) -> tuple[Tensor, State]:  # fmt: skip
    """What comes out of one layer for (n, length, features), (n, length, hidden), or packed; and its last state."""
    new, outputs = functional.linear(x, weights[0], *biases[:1]), list[Tensor]()

    def follow(part: Tensor, state: State) -> State:
        hidden, *cell = step(part, functional.linear(state[0], weights[1], *biases[1:]), state)
        return (functional.linear(hidden, *projection) if projection else hidden, *cell)

    parts = new.unbind(1) if sizes is None else new.split(sizes.tolist())
    for part in reversed(parts) if backwards else parts:
        if sizes is None:
            state = follow(part, state)
        else:  # so many have begun, and have not ended
            own = follow(part, tuple(each[: len(part)] for each in state))
            state = tuple(torch.cat([each, old[len(part) :]]) for each, old in zip(own, state, strict=True))
        outputs.append(state[0] if sizes is None else own[0])
    outputs = outputs[::-1] if backwards else outputs
    return torch.stack(outputs, 1) if sizes is None else torch.cat(outputs), state


def of_batch(x: Tensor, state: Tensor) -> Tensor:
    """A first state (n, hidden), of this worker's images if `x` is."""
    if not workers.is_of_images(x) or hasattr(state, "of_images"):
        return state
    if state.requires_grad or state.any():
        raise refusal("first states", "with several workers a sequence begins with zeros")
    return workers.of_images(state.clone())


FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: make(step)
    for kind, step in {
        "lstm": step_of_lstm,
        "gru": step_of_gru,
        "rnn_tanh": step_by(torch.tanh),
        "rnn_relu": step_by(torch.relu),
    }.items()
    for name, make in {kind: layers, f"{kind}_cell": cell}.items()
}
