"""Trains a network that nobody here wrote for a few steps, and prints its losses and a hash of all its numbers.

Or prints a hash of the results of each function that is covered.
"""

import contextlib
import hashlib
import sys
from collections.abc import Callable, Iterable
from typing import Any

import samebits
import torch
from samebits import workers
from samebits.tests import cases
from torch import nn
from torch.nn import functional

SIZE = 32  # pixels of an image's side, for torchvision's networks


class Examples(nn.Module):
    """Of the form of PyTorch's examples/mnist, which has 32 and 64 channels and 128 hidden units."""

    def __init__(self, first: int = 4, second: int = 8, hidden: int = 16) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, first, 3), nn.Conv2d(first, second, 3)
        self.hidden, self.output = nn.Linear(144 * second, hidden), nn.Linear(hidden, 10)
        self.quarter_off, self.half_off = nn.Dropout(0.25), nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(functional.relu(self.second(functional.relu(self.first(x)))), 2)
        x = functional.relu(self.hidden(torch.flatten(self.quarter_off(x), 1)))
        return functional.log_softmax(self.output(self.half_off(x)), dim=1)


class Transformer(nn.Module):
    """Of nanoGPT's form: embeddings, blocks with causal attention, the weights of the first and last layer tied."""

    def __init__(self, tokens: int = 17, length: int = 8, width: int = 16, heads: int = 2, blocks: int = 1) -> None:
        super().__init__()
        self.heads = heads
        self.token, self.place = nn.Embedding(tokens, width), nn.Embedding(length, width)
        self.before, self.between = (nn.ModuleList(nn.LayerNorm(width) for _ in range(blocks)) for _ in range(2))
        self.after = nn.LayerNorm(width)
        self.attention = nn.ModuleList(nn.Linear(width, 3 * width, bias=False) for _ in range(blocks))
        self.projection = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.up = nn.ModuleList(nn.Linear(width, 4 * width) for _ in range(blocks))
        self.down = nn.ModuleList(nn.Linear(4 * width, width) for _ in range(blocks))
        self.head = nn.Linear(width, tokens, bias=False)
        self.token.weight = self.head.weight

    def forward(self, index: torch.Tensor) -> torch.Tensor:
        x = self.token(index) + self.place(torch.arange(index.shape[1]))
        x = functional.dropout(x, 0.1, self.training)
        for block in range(len(self.before)):
            x = x + self.attend(self.before[block](x), block)
            x = x + self.down[block](functional.gelu(self.up[block](self.between[block](x))))
        return self.head(self.after(x))

    def attend(self, x: torch.Tensor, block: int) -> torch.Tensor:
        parts = self.attention[block](x).split(x.shape[-1], dim=2)
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.projection[block](y.transpose(1, 2).contiguous().view(x.shape))


class Reader(nn.Module):
    """Reads an image row by row, as recurrent networks are often introduced."""

    def __init__(self, hidden: int = 6) -> None:
        super().__init__()
        self.rows, self.output = nn.LSTM(28, hidden, 2, batch_first=True, bidirectional=True), nn.Linear(2 * hidden, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs, _ = self.rows(x[:, 0, ::4])
        return self.output(outputs[:, -1])


def convolutional(first: int = 4, second: int = 6) -> nn.Module:
    """Of the form of RepDL's network for MNIST, which has 32 and 64 channels."""
    layers = [nn.Conv2d(1, first, 3), nn.BatchNorm2d(first), nn.ReLU()]
    layers += [nn.Conv2d(first, second, 3, 2), nn.BatchNorm2d(second), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36 * second, 10))


def critic() -> nn.Module:
    """Of the form of a critic of Gulrajani et al. (2017), whose loss has the lengths of its gradients."""
    layers = [nn.Conv2d(1, 4, 3, 2), nn.GroupNorm(2, 4), nn.LeakyReLU(0.2), nn.Conv2d(4, 6, 3, 3), nn.SiLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(96, 10))


def torchvision(name: str) -> nn.Module:
    """One of torchvision's, as it is, for ten classes."""
    from torchvision import models

    if name == "vit":
        return models.VisionTransformer(SIZE, 8, 2, 2, 16, 32, num_classes=10)
    return getattr(models, name)(num_classes=10)


OWN: dict[str, Callable[..., nn.Module]] = {
    "examples": Examples,
    "transformer": Transformer,
    "convolutional": convolutional,
    "reader": Reader,
    "critic": critic,
}


def network_of(name: str, **sizes: int) -> nn.Module:
    """The network of that name, with exact initial weights."""
    network = OWN[name](**sizes) if name in OWN else torchvision(name)
    draw = torch.Generator().manual_seed(5)
    loose = ("class_token", "encoder.pos_embedding")  # of torchvision's vit
    values = {key: samebits.normal(p.shape, 0.02, draw) for key, p in network.named_parameters() if key in loose}
    samebits.initialize(network, draw, values)
    return network


def optimizer_of(name: str, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """What each is usually trained with."""
    if name == "transformer":
        return torch.optim.AdamW(parameters, lr=1e-3)
    if name == "examples":
        return torch.optim.Adadelta(parameters, lr=1.0)
    if name in ("convolutional", "reader", "critic"):
        return torch.optim.Adam(parameters)
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=1e-4)


def batch(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and labels."""
    draw = torch.Generator().manual_seed(7)
    if name == "transformer":
        return torch.randint(17, (5, 8), generator=draw), torch.randint(17, (5, 8), generator=draw)
    shape = (5, 1, 28, 28) if name in ("examples", "convolutional", "reader", "critic") else (5, 3, SIZE, SIZE)
    return torch.rand(shape, generator=draw), torch.tensor([3, 1, 4, 1, 5])


def loss_of(name: str, network: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The mean over all images, or all places of all texts, in nats."""
    x = x.clone().requires_grad_(name == "critic")
    logits = network(x).flatten(0, -2)
    of_logs = name == "examples"
    loss = functional.nll_loss(logits, labels) if of_logs else functional.cross_entropy(logits, labels.flatten())
    if name == "critic":
        (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        loss = loss + ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()
    return loss


def train(name: str, arithmetic: Any, steps: int) -> tuple[list[float], str]:
    """The losses, and the hash of all parameters, buffers and what the network then says of the same inputs."""
    network, (x, labels) = network_of(name), batch(name)
    optimizer = optimizer_of(name, network.parameters())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    losses = []
    torch.manual_seed(3)
    with arithmetic:
        for _ in range(steps):
            loss = loss_of(name, network, samebits.share(x), samebits.share(labels))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        network.eval()
        with torch.no_grad(), workers.alone():
            numbers = [*network.state_dict().values(), network(x)]
    content = b"".join(value.contiguous().numpy().tobytes() for value in numbers)
    return losses, hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    threads, arithmetic, *names = sys.argv[1:]
    torch.set_num_threads(int(threads))
    for name in names:
        if name == "functions":
            print(*cases.digests(), sep="\n")
            continue
        found = train(name, samebits.exact() if arithmetic == "exact" else contextlib.nullcontext(), 2)
        print(name, *found, flush=True)
