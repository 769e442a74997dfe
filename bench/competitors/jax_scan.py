"""JAX: an epoch is one jax.lax.scan over the batches, compiled by jax.jit."""

from bench.task import BATCH, EPOCHS, HIDDEN, LR, Clock, arrays

import jax
import jax.numpy as jnp
import numpy as np

Parameters = list[tuple[jax.Array, jax.Array]]


def loss(parameters: Parameters, images: jax.Array, labels: jax.Array) -> jax.Array:
    """The mean cross-entropy of images (b, 784) and labels (b,), in nats."""
    (w1, b1), (w2, b2) = parameters
    log_probability = jax.nn.log_softmax(jax.nn.sigmoid(images @ w1 + b1) @ w2 + b2)
    return -jnp.take_along_axis(log_probability, labels[:, None], 1).mean()


@jax.jit
def epoch(
    parameters: Parameters, images: jax.Array, labels: jax.Array, order: jax.Array
) -> tuple[Parameters, jax.Array]:
    """One pass in the given order (n,); returns the parameters and the mean loss."""

    def step(parameters: Parameters, index: jax.Array) -> tuple[Parameters, jax.Array]:
        value, gradient = jax.value_and_grad(loss)(parameters, images[index], labels[index])
        return jax.tree.map(lambda p, g: p - LR * g, parameters, gradient), value

    parameters, losses = jax.lax.scan(step, parameters, order.reshape(-1, BATCH))
    return parameters, losses.mean()


generator = np.random.default_rng(0)
images, labels = map(jnp.asarray, arrays())
parameters = [
    tuple(jnp.asarray(generator.uniform(-(n**-0.5), n**-0.5, shape), jnp.float32) for shape in ((n, units), (units,)))
    for n, units in ((784, HIDDEN), (HIDDEN, 10))
]
clock = Clock()
for _ in range(EPOCHS):
    parameters, mean_loss = epoch(parameters, images, labels, generator.permutation(len(labels)))
    clock.epoch(mean_loss)
clock.report()
