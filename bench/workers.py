"""From which width and batch on more workers pay: python -m bench.workers measures, and prints tables in Markdown.

A step of W workers is taken to last

    fixed + image * batch / W + 2 * (W - 1) * (messages * hop + bytes / W / rate)

seconds: what each worker does for all weights, its share of the images, and gloo's rings, in each of which a message is
cut in W parts that are handed on 2 * (W - 1) times; the messages of a step are counted. `fixed` and `image` come
from one worker and two batches, `rate` from a large message of two workers on this machine, and `hop`, in which they
also wait for each other, from a step of two workers and the smallest width; so that the other widths test the formula.
Each time is the least of many, as other processes can only add to it.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

from stages import train
from stages.lib import data, model, numerics, params, tensors

import torch
import torch.distributed as dist
from samebits import workers

WIDTHS, BATCHES = (20, 200, 2_000), (100, 1_000, 10_000)
IMAGES, FLOATS, MOST = 60_000, 2_000_000, 1_000  # in an epoch; in the message that measures the rate; workers
Costs = dict[str, float]


def least(action: Callable[[], object], times: int) -> float:
    """Seconds of the action, the least of so many times; of the processor where it is one worker's, who never waits."""
    clock = time.process_time if workers.size() == 1 else time.perf_counter
    seconds = []
    for _ in range(times):
        start = clock()
        action()
        seconds.append(clock() - start)
    return min(seconds)


def step(hidden: int, batch: int) -> Costs:
    """Seconds of a step of this and the other workers, and the messages and bytes that this one sends in it."""
    settings = params.load()
    network = model.sequential(hidden)
    model.initialize(network, torch.Generator().manual_seed(0))
    training = tensors.to_tensors(data.load_train("mnist"))
    order = tensors.shuffled(IMAGES, 0, 1)[:batch]
    arithmetic = numerics.arithmetic("exact", "cpu")
    trainer = train.Trainer(network, settings)
    sent, plain = [], dist.all_reduce

    def counting(tensor: torch.Tensor, *arguments: object) -> None:
        sent.append(tensor.nbytes)
        plain(tensor, *arguments)

    def one() -> None:
        with arithmetic:
            trainer.epoch(training, (order,))

    seconds = least(one, 20 + 100_000 // hidden // batch)
    dist.all_reduce = counting
    one()
    dist.all_reduce = plain
    return {"seconds": seconds, "messages": len(sent), "bytes": sum(sent)}


def message(numbers: int) -> Costs:
    """Seconds to add up so many float64 of all workers."""
    values = torch.zeros(numbers, dtype=torch.float64)
    return {"seconds": least(lambda: workers.total(values), 100)}


def started(count: int, *arguments: object) -> Costs:
    """What one of so many workers finds, each in a process of its own."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)] if count > 1 else []
    command = [sys.executable, *launch, "-m", "bench.workers", *map(str, arguments)]
    printed = subprocess.check_output(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True)
    return json.loads(printed.splitlines()[-1])


def formula(count: int, batch: int, costs: Costs) -> float:
    """Seconds of a step of so many workers, as above."""
    sending = costs["messages"] * costs["hop"] + costs["bytes"] / count / costs["rate"]
    return costs["fixed"] + costs["image"] * batch / count + 2 * (count - 1) * sending


def fastest(batch: int, costs: Costs) -> str:
    """The number of workers that is fastest by the formula, and how many times faster than one it is."""
    seconds = {count: formula(count, batch, costs) for count in range(1, MOST + 1)}
    best = min(seconds, key=lambda count: seconds[count])
    return f"{best} ({seconds[1] / seconds[best]:.1f})"


def row(*cells: object) -> None:
    """Print a row of a table in Markdown."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def main() -> None:
    costs: Costs = {"hop": 0, "rate": 8 * FLOATS / started(2, "message", FLOATS)["seconds"]}
    batch, larger, _ = BATCHES
    row("hidden units", "fixed, ms", "image, µs", "s per epoch, 1 worker", "2", "2, formula", "messages", "bytes")
    row(*["---"] * 8)
    pay = []
    for hidden in WIDTHS:
        one, two = (started(count, "step", hidden, batch) for count in (1, 2))
        image = (started(1, "step", hidden, larger)["seconds"] - one["seconds"]) / (larger - batch)
        costs |= {"image": image, "fixed": one["seconds"] - image * batch}
        costs |= {"messages": two["messages"], "bytes": two["bytes"]}
        costs["hop"] = costs["hop"] or (two["seconds"] - formula(2, batch, costs)) / 2 / two["messages"]
        steps = one["seconds"], two["seconds"], formula(2, batch, costs)
        epochs = (f"{IMAGES / batch * seconds:.2f}" for seconds in steps)
        row(
            f"{hidden:,}",
            f"{1e3 * costs['fixed']:.2f}",
            f"{1e6 * image:.1f}",
            *epochs,
            two["messages"],
            f"{two['bytes']:,}",
        )
        pay.append([f"{hidden:,}", *(fastest(images, costs) for images in BATCHES)])
    print(f"\nhop {1e6 * costs['hop']:.0f} µs, rate {costs['rate'] / 1e9:.2f} GB/s\n")
    row(f"the fastest of 1 to {MOST:,} workers", *(f"batch {images:,}" for images in BATCHES))
    row(*["---"] * 4)
    for cells in pay:
        row(*cells)


def work(kind: str, *numbers: int) -> None:
    """What the processes that `started` starts do."""
    with workers.joined():
        found = step(*numbers) if kind == "step" else message(*numbers)
        if workers.rank() == 0:
            print(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1:]:
        work(sys.argv[1], *map(int, sys.argv[2:]))
    else:
        main()
