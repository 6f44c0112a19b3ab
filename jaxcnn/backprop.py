"""Back-propagation by hand, to be read beside the lecture. Training uses `jax.grad`.

A dense network of L layers, in the notation of deck B (which leaves out the intercepts b):

    a(1) = x,   z(l+1) = Theta(l) a(l) + b(l),   a(l+1) = g(z(l+1)),   y_hat = output(z(L+1))

What a small change of the pre-activation `z(l)` does to the loss of one example is called

    delta(l) = d loss / d z(l).

*The last layer.* Each loss here comes with the output function that makes it simple:

    delta(L+1) = y_hat - y

(Deck B prints `y - a(L+1)` on the slides with the derivation, where it climbs the
likelihood, and `a - y` in the algorithm, where it descends the loss.)

*The other layers.* The chain rule through `z(l+1) = Theta(l) g(z(l)) + b(l)` gives

    delta(l) = g'(z(l)) * (Theta(l)^T delta(l+1))          (* entry by entry)

For the sigmoid, `g'(z) = a (1 - a)`. Once the deltas are known, so are the gradients:

    d loss / d Theta(l) = delta(l+1) a(l)^T,   d loss / d b(l) = delta(l+1)

*Why it is fast.* Every delta is made from the next one by one product with a matrix: one pass
forward, one pass back, O(L) products. The naive way works out each layer's gradient on its
own: a forward pass and the chain of products from the loss down to that layer, again for
every layer. That is O(L^2). Both are below, and both count their multiplications:

    >>> def both(layers):
    ...     network = random_network([8] * (layers + 1), seed=0)
    ...     x, y = np.ones((1, 8)), np.zeros((1, 8))
    ...     return [f(network, x, y).multiplications for f in (backpropagation, naive)]
    >>> for layers in (4, 8, 16):
    ...     print(layers, both(layers))
    4 [728, 1712]
    8 [1528, 6624]
    16 [3128, 26048]

*A mini-batch* of n examples: add up the gradients of the examples in Delta, divide by n, and
add `l2 Theta` to the weights' part and nothing to the intercepts'.

The code works on one example at a time and in NumPy float64, as the slides do. Source: deck B.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxcnn.errors import ConfigError, ShapeError

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


class Linear(NamedTuple):
    """One layer's parameters, or their gradient: `z = theta a + b`."""

    theta: Matrix  # [n_out, n_in]: the transpose of a `Dense` kernel
    b: Vector  # [n_out]


Network = Sequence[Linear]


@dataclasses.dataclass(frozen=True)
class Activation:
    """A function g and its derivative g', both of the pre-activation z."""

    name: str
    g: Callable[[Vector], Vector]
    derivative: Callable[[Vector], Vector]

    def __repr__(self) -> str:
        return self.name


@dataclasses.dataclass(frozen=True)
class Loss:
    """A loss of the last pre-activation z and the target y, both [n_out].

    `output` turns z into the prediction; with `value` it must satisfy `d value / d z =
    output(z) - y`, the delta of the last layer.
    """

    name: str
    output: Callable[[Vector], Vector]
    value: Callable[[Vector, Vector], float]

    def __repr__(self) -> str:
        return self.name


class Result(NamedTuple):
    """What a pass over a mini-batch gives."""

    objective: float  # mean loss + l2 / 2 sum of squared weights
    gradient: list[Linear]  # of the objective, D(1) .. D(L)
    multiplications: int  # of numbers, in products with the network's matrices and vectors


def _sigmoid(z: Vector) -> Vector:
    return np.exp(-np.logaddexp(0, -z))  # exp(-z) alone would overflow


def _softmax(z: Vector) -> Vector:
    e = np.exp(z - z.max())
    return e / e.sum()


SIGMOID = Activation("sigmoid", _sigmoid, lambda z: _sigmoid(z) * (1 - _sigmoid(z)))
TANH = Activation("tanh", np.tanh, lambda z: 1 - np.tanh(z) ** 2)
RELU = Activation("relu", lambda z: np.maximum(0, z), lambda z: np.where(z > 0, 1.0, 0.0))

SQUARE = Loss("square", lambda z: z, lambda z, y: float(0.5 * np.sum((z - y) ** 2)))
"""`1/2 |z - y|^2` of a linear output: regression."""

LOGISTIC = Loss("logistic", _sigmoid, lambda z, y: float(np.sum(np.logaddexp(0, z) - y * z)))
"""Cross-entropy of sigmoids with y in [0, 1]: the slides' binary classification."""

SOFTMAX = Loss(
    "softmax",
    _softmax,
    lambda z, y: float(y.sum() * (z.max() + np.log(np.exp(z - z.max()).sum())) - y @ z),
)
"""Cross-entropy of softmax with y a one-hot row or probabilities: K classes."""


class _Products:
    """The products that the passes are made of; counts their multiplications."""

    def __init__(self) -> None:
        self.multiplications = 0

    def matrix_vector(self, matrix: Matrix, vector: Vector) -> Vector:
        self.multiplications += matrix.size
        return matrix @ vector

    def outer(self, column: Vector, row: Vector) -> Matrix:
        self.multiplications += column.size * row.size
        return np.outer(column, row)

    def entrywise(self, u: Vector, v: Vector) -> Vector:
        self.multiplications += u.size
        return u * v


def forward(
    network: Network, x: Vector, activation: Activation, products: _Products
) -> tuple[list[Vector], list[Vector]]:
    """Runs the network on one example.

    Returns:
      `[a(1), .., a(L)]`, what each layer sees, and `[z(2), .., z(L+1)]`, what it gives.
    """
    a, z = [x], []
    for theta, b in network:
        z.append(products.matrix_vector(theta, a[-1]) + b)
        a.append(activation.g(z[-1]))
    return a[:-1], z  # the last z goes to the loss, not through g


def backpropagation(
    network: Network,
    xs: ArrayLike,
    ys: ArrayLike,
    *,
    activation: Activation = SIGMOID,
    loss: Loss = LOGISTIC,
    l2: float = 0.0,
) -> Result:
    """Gradient of the mean loss plus `l2 / 2 sum Theta^2`, by the delta recursion.

    Args:
      network: the layers, first to last.
      xs: [n, n_in], the examples.
      ys: [n, n_out], their targets; classes as one-hot rows.
      activation: g, of all layers but the last, whose output function is the loss's.
      loss: one of `SQUARE`, `LOGISTIC`, `SOFTMAX`, or your own.
      l2: weight of the penalty; intercepts are not penalized.

    Raises:
      ShapeError: the layers, examples and targets do not fit.
      ConfigError: `l2` is negative.

    >>> network = [Linear(np.array([[1.0, 2.0]]), np.array([0.0]))]
    >>> result = backpropagation(network, [[3.0, 1.0]], [[4.0]], loss=SQUARE)
    >>> result.objective, result.gradient[0].theta.tolist(), result.gradient[0].b.tolist()
    (0.5, [[3.0, 1.0]], [1.0])
    """

    def of_example(x: Vector, y: Vector, products: _Products) -> tuple[float, list[Linear]]:
        a, z = forward(network, x, activation, products)
        deltas = [loss.output(z[-1]) - y]  # delta(L+1)
        for layer in reversed(range(1, len(network))):
            back = products.matrix_vector(network[layer].theta.T, deltas[0])
            deltas.insert(0, products.entrywise(activation.derivative(z[layer - 1]), back))
        gradient = [
            Linear(products.outer(delta, seen), delta)
            for delta, seen in zip(deltas, a, strict=True)
        ]
        return loss.value(z[-1], y), gradient

    return _over_batch(of_example, network, xs, ys, l2)


def naive(
    network: Network,
    xs: ArrayLike,
    ys: ArrayLike,
    *,
    activation: Activation = SIGMOID,
    loss: Loss = LOGISTIC,
    l2: float = 0.0,
) -> Result:
    """The same gradient, each layer's worked out from scratch: O(L^2) products.

    Arguments, result and errors as of `backpropagation`.
    """

    def of_example(x: Vector, y: Vector, products: _Products) -> tuple[float, list[Linear]]:
        gradient = []
        value = 0.0
        for target in range(len(network)):
            a, z = forward(network, x, activation, products)
            value = loss.value(z[-1], y)
            delta = loss.output(z[-1]) - y
            for layer in reversed(range(target + 1, len(network))):
                back = products.matrix_vector(network[layer].theta.T, delta)
                delta = products.entrywise(activation.derivative(z[layer - 1]), back)
            gradient.append(Linear(products.outer(delta, a[target]), delta))
        return value, gradient

    return _over_batch(of_example, network, xs, ys, l2)


def random_network(sizes: Sequence[int], *, seed: int) -> list[Linear]:
    """Layers between `sizes` units, normal weights of variance 1 / n_in, intercepts 0."""
    rng = np.random.default_rng(seed)
    return [
        Linear(rng.normal(scale=n_in**-0.5, size=(n_out, n_in)), np.zeros(n_out))
        for n_in, n_out in itertools.pairwise(sizes)
    ]


def _over_batch(
    of_example: Callable[[Vector, Vector, _Products], tuple[float, list[Linear]]],
    network: Network,
    xs: ArrayLike,
    ys: ArrayLike,
    l2: float,
) -> Result:
    """Deck B's algorithm: accumulate in Delta, average, penalize the weights."""
    xs, ys = np.asarray(xs, np.float64), np.asarray(ys, np.float64)
    _check(network, xs, ys, l2)
    products = _Products()
    total = 0.0
    accumulated = [Linear(np.zeros_like(theta), np.zeros_like(b)) for theta, b in network]  # Delta
    for x, y in zip(xs, ys, strict=True):
        value, gradient = of_example(x, y, products)
        total += value
        for of_all, of_one in zip(accumulated, gradient, strict=True):
            of_all.theta[...] += of_one.theta
            of_all.b[...] += of_one.b
    n = len(xs)
    # The deck writes the penalty as `l2 |Theta|^2` and its gradient as `l2 Theta`; the half
    # makes the two fit.
    penalty = 0.5 * l2 * sum(float(np.sum(theta**2)) for theta, _ in network)
    mean = [
        Linear(of_all.theta / n + l2 * theta, of_all.b / n)
        for of_all, (theta, _) in zip(accumulated, network, strict=True)
    ]
    return Result(total / n + penalty, mean, products.multiplications)


def _check(network: Network, xs: Matrix, ys: Matrix, l2: float) -> None:
    if not l2 >= 0:
        raise ConfigError(f"l2={l2!r} is not allowed: expected 0 or more.")
    if not network:
        raise ShapeError("got a network of no layers, expected at least one.")
    if xs.ndim != 2 or ys.ndim != 2 or len(xs) != len(ys) or not len(xs):
        raise ShapeError(
            f"got examples {list(xs.shape)} and targets {list(ys.shape)}, expected "
            "[n, n_in] and [n, n_out] with n at least 1; classes as one-hot rows."
        )
    width = xs.shape[1]
    for index, (theta, b) in enumerate(network, 1):
        if theta.ndim != 2 or theta.shape[1] != width or b.shape != theta.shape[:1]:
            raise ShapeError(
                f"layer {index} has theta {list(theta.shape)} and b {list(b.shape)}, expected "
                f"[n_out, {width}] and [n_out]."
            )
        width = theta.shape[0]
    if ys.shape[1] != width:
        raise ShapeError(f"got targets {list(ys.shape)}, expected [n, {width}], the last layer's.")
