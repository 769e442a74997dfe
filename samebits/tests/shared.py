"""What workers make of images that they share: prints the results for all images.

And for each network of networks.py that is named, its losses and hash.
"""

import os
import socket
import sys
import traceback
from collections.abc import Callable

import samebits
import torch
import torch.distributed as dist
from samebits import workers
from samebits.shared import whole
from samebits.tests import cases
from samebits.tests.networks import train
from torch.nn import functional


def table() -> torch.Tensor:
    return torch.arange(36.0).view(6, 6).requires_grad_()


def gradient_of(loss: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    weights = table()
    loss(weights).square().mean().backward()
    assert weights.grad is not None
    return weights.grad


def put(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    y = x * 1
    y[:, 1] = weights[0, 0]
    y[:, 2:4] = weights[1, 2:4]
    return y


def put_where(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    y = x * 1
    y[x > 0.5] = weight
    return y


def put_in_part(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    y[:, 1:].copy_(x)
    return y


def looked_at(x: torch.Tensor) -> torch.Tensor:
    x.register_hook(lambda gradient: gradient / gradient.abs().amax())
    return x


def recurrent(x: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    """The last state (1, n, 2) of sequences of three."""
    return torch.rnn_tanh(x.view(-1, 3, 2), state, [table()[:2, :2]] * 2, False, 1, 0.0, True, False, True)[1]


def penalized(x: torch.Tensor) -> torch.Tensor:
    """The gradient by weights of how far the lengths of gradients of images are from 1."""
    x = x.clone().requires_grad_()

    def loss(weights: torch.Tensor) -> torch.Tensor:
        y = functional.batch_norm((x @ weights / 9).tanh(), None, None, weights[2], weights[3], True)
        (gradient,) = torch.autograd.grad(functional.cross_entropy(y, x.argmax(1)), x, create_graph=True)
        return gradient.norm(dim=1) - 1

    return gradient_of(loss)


def changed(x: torch.Tensor) -> torch.Tensor:
    return x + (torch.arange(len(x)) == len(x) - 1).float().unsqueeze(1)


def in_place(x: torch.Tensor, factor: float) -> torch.Tensor:
    return x.mul_(factor).cos_()


def put_data(x: torch.Tensor) -> torch.Tensor:
    x.data = (x + 1).clamp(max=1.5)
    return x


WEIGHTS = torch.arange(1.0, 7) ** 2  # of classes
LARGE = torch.linspace(1, 9, 300)
CASES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "count": lambda x: (x > 0.5).sum(),
    "largest of each image": lambda x: x - x.amax(1, keepdim=True),
    "some features": lambda x: x[:, :3] * x[..., 3:],
    "features of one image": lambda _: samebits.share(torch.arange(6.0).view(1, 2, 3)).view(1, -1).mean(0),
    "bits": lambda x: x.view(torch.int32).float().mean(0),
    "rows of features": lambda x: x.view(-1, 2).mean(0),
    "dropout": lambda x: functional.dropout(x, 0.5),
    "dropout of rows of features": lambda x: functional.dropout(x.view(-1, 2), 0.5).mean(0),
    "whole channels dropped": lambda x: functional.dropout2d(x.unflatten(1, (3, 2)).unsqueeze(-1), 0.5),
    "gradient of rows of weights": lambda x: gradient_of(lambda weights: weights[x.argmax(1)] * x),
    "gradient of elements of weights": lambda x: gradient_of(lambda weights: weights[0].gather(0, x.argmax(1))),
    "gradient of weights that are put in places": lambda x: gradient_of(lambda weights: put(x, weights)),
    "gradient of weights that are the largest": lambda x: gradient_of(lambda weights: torch.max(x * 9, weights[0])),
    "a large gradient that each worker has whole": lambda x: gradient_of(
        lambda weights: (
            functional.batch_norm(x.repeat(1, 2_000) * weights[0].repeat(2_000), None, None, training=True)[
                torch.arange(9, -1, -1)
            ]
            * torch.arange(10.0)[:, None]
        )
    ),
    "side by side": lambda x: torch.cat([x, x * 2], 1).mean(0),
    "one after the other": lambda x: torch.cat([x, x * 2]).mean(0),
    "a weight before each image": lambda x: gradient_of(
        lambda weights: torch.cat([weights[0].expand(len(x), 1, 6), x[:, None]], 1)
    ),
    "a sequence that goes on": lambda x: recurrent(x, recurrent(x, torch.zeros(1, len(x), 2)))[-1].mean(0),
    "one step of a sequence": lambda x: torch.rnn_tanh_cell(x[:, :2], torch.zeros(len(x), 2), *[table()[:2, :2]] * 2),
    "picked before and behind the images": lambda x: x.view(-1, 3, 2).transpose(0, 1)[1, :, None, [1, 0]],
    "noise like it": lambda x: (x + torch.randn_like(x) * torch.rand_like(x)).mean(0),
    "noise within": lambda x: functional.gumbel_softmax(functional.alpha_dropout(x, 0.3, True), hard=True),
    "slopes of noise": lambda x: functional.rrelu(x - 0.5, training=True),
    "one of several": lambda x: torch.multinomial(x, 2),
    "any": lambda x: torch.stack([(x > 0.98).any(), (x > 0.02).all(), (x < 2).all()]),
    "gradients of images": lambda x: torch.autograd.grad((x.requires_grad_() ** 3).mean(), x)[0].mean(0),
    "gradients of gradients": penalized,
    "largest before the images": lambda x: x.view(-1, 3, 2).transpose(0, 1).amax(0).mean(0),
    "largest": lambda x: x / x.abs().max(),
    "softmax over images": lambda x: x.softmax(0),
    "softmax over so many that decimals decide": lambda x: samebits.share(x.repeat(400, 50) * LARGE).softmax(0).mean(1),
    "products of a part of the images": lambda x: x[:, 1:].prod(0),
    "the diagonal of a part, turned": lambda x: torch.stack([x[:, 1:].t().diagonal(), x.t().diagonal(1)[:5]]),
    "every third image, in part": lambda x: x[:, 1:][::3],
    "stretched features of some": lambda x: x[:, :1].expand(-1, 3)[2:5],
    "first image": lambda x: x - x[0],
    "parts of three": lambda x: torch.cat([part.flip(0) for part in x.split(3)]),
    "parts of features": lambda x: torch.cat([part.flip(1) for part in x.split([1, 5], 1)] + [*x.chunk(2, dim=1)], 1),
    "without dimensions of size 1": lambda x: samebits.share(torch.rand(3, 1, 2, 1)).squeeze() * 2,
    "a batch of two without one": lambda x: samebits.share(torch.rand(2, 3, 4, 4)).mean((2, 3), True).squeeze() * 2,
    "whether it is equal": lambda x: torch.tensor([torch.equal(x, changed(x)), x.equal(x * 1), torch.equal(x, x[:2])]),
    "smallest bytes": lambda x: torch.stack(
        [bytes_ := (x * 255).byte().amin(0), (x * 255).byte().amax(0), bytes_ // 2]
    ),
    "any of bytes": lambda x: torch.stack(
        [(x * 255).byte().any(0), (x > 0.9).amax(0).byte(), (x > 0.1).amin(0).byte()]
    ),
    "largest of no features": lambda x: torch.tensor(x[:, :0].amax(0).shape),
    "largest that is no number": lambda x: torch.stack(
        [(torch.where(x > 0.9, torch.nan, x) - 0.5).amax(0).nan_to_num(7), (x - 0.5).amin(0), (-x).amax(0)]
    ),
    "turned, in a place of its own": lambda x: x + in_place(x.t().contiguous(), 2).t() + in_place(x.t(), 1).t().cos(),
    "stretched, in a place of its own": lambda x: in_place(x[:, :1].expand(-1, 6).contiguous(), 3),
    "few images, pooled": lambda x: functional.max_pool2d(samebits.share(torch.rand(2, 1, 4, 4)), 2),
    "no images": lambda x: samebits.share(torch.rand(0, 3, 4)).flatten(1).sum(0),
    "its own data": lambda x: put_data(x * 1),
    "as a list": lambda x: torch.tensor((x * 2).tolist()) + torch.from_numpy((x * 2).numpy()),
    "without a dimension, in place": lambda x: (x[:, :1] * 1).squeeze_(1).unsqueeze_(0).sum(1),
    "weights for some images": lambda x: gradient_of(lambda weights: put_where(x, weights[0, 0])),
    "a question": lambda x: x * (2 if torch.allclose(x, x.clamp(max=0.9)) else 1),
    "how many of each class": lambda x: torch.bincount(x.argmax(1), minlength=6),
    "others' features": lambda x: x.gather(0, x.argsort(1) % len(x)),
    "features by label": lambda x: x[:, x.argmax(1)],
    "noise for each feature": lambda x: x + torch.rand_like(x.t()).t(),
    "turned round": lambda x: x.flip(0),
    "a mean by one's own number": lambda x: x.sum() / len(x),
    "each with each": lambda x: x @ x.t(),
    "each beside each": lambda x: (x[:, 0].unsqueeze(1) - x[:, 0]).abs().mean(),
    "the diagonal of images and features": lambda x: x.diagonal(),
    "a sequence that begins with other than zeros": lambda x: recurrent(x, torch.ones(1, len(x), 2)),
    "the last image behind others": lambda x: x[:, None, :4].transpose(0, 1)[:, -1],
    "dropout of two rows of each image": lambda x: functional.dropout(torch.cat([x, x * 0.9]), 0.5).mean(0),
    "images in a part of something else": lambda x: put_in_part(torch.zeros(len(x), 7), x).mean(0),
    "a look at the gradient": lambda x: gradient_of(lambda weights: looked_at(x * weights[0])),
    "images in rows of features": lambda x: x.t().reshape(3, -1).mean(0),
    "images in rows of as many": lambda x: x[:, None, :4].transpose(0, 1).reshape(-1, 4),
    "images where they are large": lambda x: x[x > 0.5].mean(),
    "each feature with each": lambda x: x.t() @ x,
    "each image's own places": lambda x: x.scatter_reduce(1, x.argsort(1), x, "amax"),
    "several gradients at once": lambda x: torch.autograd.grad(
        (y := x.requires_grad_() ** 2), x, torch.ones(4, *y.shape), is_grads_batched=True
    )[0].mean(1),
    "drawn for its own": lambda x: x + torch.rand(x.shape),
}
# With PyTorch's own arithmetic the gradients of these are those of all images, too, up to rounding.
LOSSES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "squares": lambda x: functional.mse_loss(x, torch.ones_like(x)),
    "labels by class": lambda x: functional.cross_entropy(x, x.argmax(1), WEIGHTS, label_smoothing=0.1),
    "labels of which some are ignored": lambda x: functional.nll_loss(x, x.argmax(1), ignore_index=2),
    "one's own": lambda x: (x.abs() ** 1.5).mean(),
    "dropout": lambda x: functional.dropout(x, 0.5).square().mean(),
    "batch normalization": lambda x: (functional.batch_norm(x, None, None, training=True) * x.detach()).mean(),
    "sum": lambda x: functional.mse_loss(x, torch.ones_like(x), reduction="sum"),
    "mean by weights": lambda x: functional.mse_loss(x, torch.ones_like(x), weight=x.detach()),
    "weights that PyTorch loses": lambda x: functional.l1_loss(x, torch.ones_like(x), weight=x.detach()),
    "drawn for its own": lambda x: (x * torch.rand(x.shape)).mean(),
    "chosen among its own": lambda x: x[torch.randperm(len(x))].mean(),
    "dropped among its own": lambda x: functional.alpha_dropout(x, 0.5, training=True).mean(),
}


# They would change a copy.
REFUSED: dict[str, Callable[[torch.Tensor], object]] = {
    "the first image": lambda x: x[0].mul_(2),
    "a part of the first images": lambda x: x[:2, 1:3].zero_(),
    "a part of each image": lambda x: [image[1:3].zero_() for image in x],
    "numbers of images": lambda x: x[:2].fill_(0),
}


def result(operation: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> str:
    """Of all images, as text."""
    torch.manual_seed(1)
    with samebits.exact():
        y = operation(samebits.share(images))
    return str(whole(y.detach()).double().tolist())


def gradient(loss: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> str:
    """The mean loss, and its gradient by the weights of a layer that has seen the images, after a step before."""
    torch.manual_seed(1)
    weight = torch.eye(6).add_(0.1).requires_grad_()
    for _ in range(2):  # the second adds to the first
        value = loss(samebits.share(images) @ weight)
        value.backward()
    assert weight.grad is not None
    return str([round(number, 4) for number in (value.item(), *weight.grad.flatten().tolist())])


def refused(operation: Callable[[torch.Tensor], object], images: torch.Tensor) -> str:
    """Whether it is."""
    try:
        with samebits.exact():
            operation(samebits.share(images))
    except samebits.NotExactError:
        return "refused"
    return "refused" if workers.size() == 1 else "done"


def hash_of(case: tuple[str, int], _: torch.Tensor) -> str:
    """Of a function's results and gradients, if of its inputs the one at a place is shared."""
    function, inputs = cases.CASES[case[0]]
    with samebits.exact():
        found = cases.results(function, tuple(samebits.share(x) if i == case[1] else x for i, x in enumerate(inputs)))
    return cases.hashed([whole(x) for x in found])


PLACES = {
    f"{name}, input {i}": (name, i)
    for name, (_, inputs) in cases.CASES.items()
    for i, x in enumerate(inputs)
    if x.dim() and name != "put in places"  # which changes some of the images
}
WAYS = {
    "exact": (result, CASES),
    "native": (gradient, LOSSES),
    "refused": (refused, REFUSED),
    "function": (hash_of, PLACES),
}  # how to compute each case


def tell(networks: list[str]) -> None:
    """Print all results, if this is the first worker or the only one."""
    x = torch.rand(10, 6, generator=torch.Generator().manual_seed(0))
    with workers.joined():
        for way, (compute, all_cases) in WAYS.items():
            for name, case in all_cases.items():
                found = compute(case, x)
                if workers.rank() == 0:
                    print(f"{way} {name}: {found}", flush=True)
        gathered = counted("parts")
        for name in networks:
            gathered.clear()
            losses, digest = train(name, samebits.exact(), 2)
            if workers.rank() == 0:
                print(f"{name}: {losses} {digest}", *gathered if name in OF_IMAGES else (), flush=True)


OF_IMAGES = ("examples", "convolutional", "resnet18")  # networks for which no worker needs the images of others


def counted(name: str) -> list[str]:
    """A list to which each call of a function of workers adds its name."""
    calls, function = list[str](), getattr(workers, name)
    setattr(workers, name, lambda *given: (calls.append(name), function(*given))[1])
    return calls


def start(rank: int, environment: dict[str, str], networks: list[str]) -> int:
    """The process id of a worker: a copy of this process, with everything imported."""
    if pid := os.fork():
        return pid
    os.environ |= environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    try:
        tell(networks)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    count, *names = sys.argv[1:]
    # Threads of the store must not hold a lock while this process is copied, so it begins after that.
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    # What torchrun sets; nothing if one process is to compute by itself.
    others = {
        "TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0",
        "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    ids = [start(rank, others if int(count) else {}, names) for rank in range(int(count) or 1)]
    listen = listening.detach()
    store = dist.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False, master_listen_fd=listen)
    sys.exit(any([os.waitpid(pid, 0)[1] for pid in ids]))
