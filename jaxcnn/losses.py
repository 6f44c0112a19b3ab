"""Loss functions: `(outputs, labels) -> the loss of each example`, [N].

Averaging is left to the training step, which alone knows which rows are padding.

- K scores an example: `softmax_cross_entropy`, `kl_divergence`, `max_margin`
- one score an example: `binary_cross_entropy` (labels 0 and 1), `logistic` and `hinge`
  (labels -1 and +1)
- numbers: `square`
- of the parameters, not of an example: `l2_penalty`
- on the host, before training: `check_labels`, `check_logits`

Numerical decisions: losses are computed in float32 or wider and returned so; those with
exponentials start from logits, not from probabilities, and so neither they nor their gradients
overflow, up to logits of 1e38; a label outside its set gives NaN, since nothing can be raised
inside compiled code.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.errors import ConfigError, DataError, ShapeError
from jaxcnn.functional.precision import widen
from jaxcnn.parameters import is_kernel
from jaxcnn.typing import Array, Params, describe


def softmax_cross_entropy(logits: Array, labels: Array, *, label_smoothing: float = 0.0) -> Array:
    """Cross-entropy of the softmax of `logits` with `labels`, in nats.

    `loss = -sum_k t_k log softmax(logits)_k` with `t = (1 - a) labels + a / K`.

    Args:
      logits: [N, K], floating, before any softmax.
      labels: [N] integer classes in 0 .. K-1, or [N, K] probabilities such as one-hot rows.
      label_smoothing: a, the weight of the uniform distribution, in [0, 1).

    Returns:
      [N], float32 or wider. A label outside 0 .. K-1 gives NaN: nothing can be raised inside
      compiled code, and JAX's indexing would train class K-1 on label -1.

    Raises:
      ShapeError: the shapes or dtypes do not fit.
      ConfigError: `label_smoothing` is outside [0, 1).

    >>> logits = jnp.log(jnp.asarray([[0.7, 0.2, 0.1]]))
    >>> print(softmax_cross_entropy(logits, jnp.asarray([0])).round(4))
    [0.3567]
    >>> print(softmax_cross_entropy(logits, jnp.asarray([[1.0, 0.0, 0.0]])).round(4))
    [0.3567]

    Source: decks A to E (deck C's figures have the logarithm to base 2: divide by log 2);
    label smoothing: Szegedy et al. 2016.
    """
    if not 0 <= label_smoothing < 1:
        raise ConfigError(f"label_smoothing={label_smoothing!r} is not allowed: use [0, 1).")
    integer = jnp.issubdtype(labels.dtype, jnp.integer)
    _check_floating(logits)
    if logits.ndim != 2 or labels.shape != (logits.shape[:1] if integer else logits.shape):
        raise ShapeError(
            f"got logits {describe(logits)} and labels {describe(labels)}, expected logits "
            "[N, K] with integer labels [N] or floating labels [N, K]."
        )
    logs = jax.nn.log_softmax(widen(logits), axis=-1)
    if integer:
        of_label = jnp.where(_inside(labels, logits), _pick(logs, labels), jnp.nan)
    else:
        of_label = _expected(logs, labels.astype(logs.dtype))
    if not label_smoothing:
        return -of_label
    return -(1 - label_smoothing) * of_label - label_smoothing * jnp.mean(logs, axis=-1)


def kl_divergence(logits: Array, labels: Array) -> Array:
    """Divergence of the softmax of `logits` from the distribution `labels`, in nats.

    `loss = sum_k t_k (log t_k - log softmax(logits)_k)`, where a class with `t_k = 0` adds 0.
    That is the cross-entropy less the entropy of the labels: its gradient in the logits is
    the same, and its least value is 0.

    Args:
      logits: [N, K], floating, before any softmax.
      labels: t, [N, K], floating, each row a distribution (not checked).

    Returns:
      [N], float32 or wider.

    Raises:
      ShapeError: the shapes or dtypes do not fit.

    >>> t = jnp.asarray([[0.5, 0.5]])
    >>> print(kl_divergence(jnp.log(t), t), kl_divergence(jnp.zeros((1, 2)), t))
    [0.] [0.]

    Source: deck D, "Motivation". `torch.nn.KLDivLoss` takes log-probabilities instead of logits.
    """
    _check_floating(logits)
    floating = jnp.issubdtype(labels.dtype, jnp.floating)
    if logits.ndim != 2 or labels.shape != logits.shape or not floating:
        raise ShapeError(
            f"got logits {describe(logits)} and labels {describe(labels)}, expected both [N, K] "
            "and floating.\nFor integer classes use `softmax_cross_entropy`: the divergence from "
            "a one-hot row is the cross-entropy."
        )
    logs = jax.nn.log_softmax(widen(logits), axis=-1)
    t = labels.astype(logs.dtype)
    return jnp.sum(jax.scipy.special.xlogy(t, t), axis=-1) - _expected(logs, t)


def max_margin(scores: Array, labels: Array, *, margin: float = 1.0) -> Array:
    """Multi-class hinge: the best wrong class should stay `margin` below the right one.

    `loss = max(0, max_{k != c} (x_k + m) - x_c)`; its derivative is +1 at the best wrong class
    (the lowest of equal ones), -1 at c, and 0 everywhere once the loss is 0.

    Args:
      scores: x, [N, K], floating, K at least 2.
      labels: c, [N] integer classes in 0 .. K-1.
      margin: m, positive.

    Returns:
      [N], float32 or wider. A label outside 0 .. K-1 gives NaN.

    Raises:
      ShapeError: the shapes or dtypes do not fit.
      ConfigError: `margin` is not positive.

    >>> print(max_margin(jnp.asarray([[2.0, 1.5, 0.0]]), jnp.asarray([0])))
    [0.5]

    Source: Crammer and Singer 2001; deck E ("MaxMargin"). `torch.nn.MultiMarginLoss` adds up
    over all wrong classes and divides by K.
    """
    _check_margin(margin)
    _check_floating(scores)
    integer = jnp.issubdtype(labels.dtype, jnp.integer)
    if scores.ndim != 2 or scores.shape[1] < 2 or labels.shape != scores.shape[:1] or not integer:
        raise ShapeError(
            f"got scores {describe(scores)} and labels {describe(labels)}, expected scores "
            "[N, K] with K at least 2 and integer labels [N].\n"
            "For one score an example use `hinge`."
        )
    x = widen(scores)
    own = jnp.arange(x.shape[1], dtype=labels.dtype)[None, :] == labels[:, None]  # [N, K]
    # By argmax, not max: of equal scores only one gets the gradient.
    rival = jnp.argmax(jnp.where(own, -jnp.inf, x), axis=-1)
    loss = jax.nn.relu(_pick(x, rival) + margin - _pick(x, labels))
    return jnp.where(_inside(labels, scores), loss, jnp.nan)


def binary_cross_entropy(logits: Array, labels: Array) -> Array:
    """Cross-entropy of `sigmoid(logits)` with labels 0 and 1, in nats.

    `loss = -y log sigm(z) - (1 - y) log(1 - sigm(z))`, computed as `softplus(z) - y z`;
    its derivative is `sigm(z) - y`.

    Args:
      logits: z, [N] or [N, 1], floating, before any sigmoid.
      labels: y, [N] or [N, 1], 0 and 1 or probabilities in between; integer, bool or floating.

    Returns:
      [N], float32 or wider. A label outside [0, 1] gives NaN.

    Raises:
      ShapeError: the shapes or dtypes do not fit.

    >>> print(binary_cross_entropy(jnp.asarray([0.0, 100.0]), jnp.asarray([1, 1])).round(4))
    [0.6931 0.    ]

    Source: deck B, which prints the likelihood, without the minus sign.
    """
    z, y = _one_score(logits, labels)
    loss = jax.nn.softplus(z) - y * z
    return jnp.where((y >= 0) & (y <= 1), loss, jnp.nan)


def logistic(scores: Array, labels: Array) -> Array:
    """`log(1 + exp(-c x))` with labels c of -1 and +1; derivative `-c / (1 + exp(c x))`.

    The same numbers as `binary_cross_entropy` with labels `(c + 1) / 2`.

    Args:
      scores: x, [N] or [N, 1], floating.
      labels: c, [N] or [N, 1], each -1 or +1; signed integer or floating.

    Returns:
      [N], float32 or wider. Any other label gives NaN.

    Raises:
      ShapeError: the shapes or dtypes do not fit.

    >>> print(logistic(jnp.asarray([0.0, -100.0]), jnp.asarray([1, 1])).round(4))
    [  0.6931 100.    ]

    Source: deck E ("Log").
    """
    x, c = _one_score(scores, labels, signed=True)
    return jnp.where(jnp.abs(c) == 1, jax.nn.softplus(-c * x), jnp.nan)


def hinge(scores: Array, labels: Array, *, margin: float = 1.0) -> Array:
    """`max(0, m - c x)` with labels c of -1 and +1; derivative `-c 1[c x < m]`.

    Args:
      scores: x, [N] or [N, 1], floating.
      labels: c, [N] or [N, 1], each -1 or +1; signed integer or floating.
      margin: m, positive.

    Returns:
      [N], float32 or wider. Any other label gives NaN.

    Raises:
      ShapeError: the shapes or dtypes do not fit.
      ConfigError: `margin` is not positive.

    >>> print(hinge(jnp.asarray([0.25, 3.0]), jnp.asarray([1, 1])))
    [0.75 0.  ]

    Source: deck E ("Hinge").
    """
    _check_margin(margin)
    x, c = _one_score(scores, labels, signed=True)
    # relu, not `jnp.maximum`: its gradient where both are equal is 0, as the deck has it.
    return jnp.where(jnp.abs(c) == 1, jax.nn.relu(margin - c * x), jnp.nan)


def square(outputs: Array, targets: Array) -> Array:
    """Half the squared distance, `1/2 sum_k (x_k - d_k)^2`; derivative `x - d`.

    Args:
      outputs: x, [N, ...], floating.
      targets: d, of the same shape; [N] fits outputs [N, 1]. Integer or floating.

    Returns:
      [N], float32 or wider.

    Raises:
      ShapeError: the shapes or dtypes do not fit.

    >>> print(square(jnp.asarray([[1.0, 2.0]]), jnp.asarray([[0.0, 4.0]])))
    [2.5]

    Source: deck E. Deck B leaves out the half; libraries often take the mean over k.
    """
    _check_floating(outputs)
    column = outputs.shape[1:] == (1,) and targets.shape == outputs.shape[:1]
    if outputs.ndim < 1 or not (column or targets.shape == outputs.shape):
        # Broadcasting [N, 1] against [N] would give [N, N] and train on nonsense.
        raise ShapeError(
            f"got outputs {describe(outputs)} and targets {describe(targets)}, expected equal "
            "shapes [N, ...], or targets [N] with outputs [N, 1]."
        )
    x = widen(outputs).reshape(outputs.shape[0], -1)
    d = targets.astype(x.dtype).reshape(x.shape)
    return 0.5 * jnp.sum(jnp.square(x - d), axis=-1)


def l2_penalty(params: Params) -> Array:
    """`1/2 sum w^2` over all kernels; biases and the parameters of norms are left out.

    Its gradient is `w`. So `objective + lam * l2_penalty(params)` equals training with
    `optim.optimizer(..., weight_decay=lam)` (other than "adamw", which decouples it).

    Args:
      params: a tree of parameters; the leaves called `kernel` count, no others.

    Returns:
      A number, float32 or wider; 0 if there are no kernels.

    >>> l2_penalty({"fc": {"kernel": jnp.full((2, 1), 3.0), "bias": jnp.ones(1)}}).item()
    9.0

    Source: decks A and B, which write `lam |W|^2`; B's gradient, `lam W`, is that of the half.
    """
    counts = jax.tree.leaves(is_kernel(params))
    kernels = [w for w, c in zip(jax.tree.leaves(params), counts, strict=True) if c]
    parts = [0.5 * jnp.sum(jnp.square(widen(w))) for w in kernels]
    dtype = max((part.dtype for part in parts), key=lambda d: d.itemsize, default=jnp.float32)
    return sum((part.astype(dtype) for part in parts), jnp.zeros((), dtype))


def check_labels(labels: Array | np.ndarray, classes: int) -> None:
    """Raises unless all labels are integer classes in 0 .. classes-1.

    For the host, once for a data set: waits for the device, and cannot run under `jit`.

    Args:
      labels: [N].
      classes: K, the number of the model's outputs.

    Raises:
      DataError: a label is not an integer or lies outside; names the first one.

    >>> check_labels(np.asarray([0, 9]), 10)
    """
    values = np.asarray(labels)  # host sync
    if not np.issubdtype(values.dtype, np.integer) or values.ndim != 1:
        raise DataError(
            f"got labels {values.dtype}{list(values.shape)}, expected integer classes [N]."
        )
    outside = np.flatnonzero((values < 0) | (values >= classes))
    if outside.size:
        raise DataError(
            f"label {values[outside[0]]} of example {outside[0]} is outside 0 .. {classes - 1} "
            f"({outside.size} of {values.size} labels are).\n"
            "Count classes from 0, and give the model as many outputs as there are classes."
        )


def check_logits(logits: Array | np.ndarray) -> None:
    """Raises if `logits` [N, K], K at least 2, look like probabilities.

    That is, if all rows are non-negative and sum to one. A loss cannot tell under `jit`: the
    softmax of probabilities is a distribution too, only a flat one that hardly trains.
    For the host, on one batch of a new model: waits for the device.

    Raises:
      ConfigError: they do.

    >>> check_logits(np.asarray([[2.0, -1.0], [0.5, 0.5]]))
    """
    values = np.asarray(logits).astype(np.float64)  # host sync
    if values.ndim != 2 or values.shape[1] < 2 or not values.size:
        return  # one score an example: a number in [0, 1] may well be a logit
    if (values >= 0).all() and (np.abs(values.sum(axis=1) - 1) < 1e-2).all():
        raise ConfigError(
            f"got probabilities where logits are expected: all {len(values)} rows are "
            "non-negative and sum to one.\nRemove the softmax at the end of the model: "
            "the losses contain it."
        )


def _expected(logs: Array, t: Array) -> Array:
    """`sum_k t_k logs_k`, [N], where `0 * -inf` is 0: a class ruled out and never the label."""
    ruled_out = (t == 0) & jnp.isneginf(logs)
    return jnp.sum(t * jnp.where(ruled_out, 0.0, logs), axis=-1)


def _pick(x: Array, classes: Array) -> Array:
    """`x[n, classes[n]]`, [N]; classes outside are moved inside."""
    return jnp.take_along_axis(x, classes[:, None], axis=-1, mode="clip")[:, 0]


def _inside(labels: Array, logits: Array) -> Array:
    return (labels >= 0) & (labels < logits.shape[-1])


def _one_score(scores: Array, labels: Array, *, signed: bool = False) -> tuple[Array, Array]:
    """Scores and labels as [N] in the wide dtype; either may be given as [N, 1]."""
    _check_floating(scores)
    shapes = (scores.shape[:1], (*scores.shape[:1], 1))
    if scores.ndim < 1 or scores.shape not in shapes or labels.shape not in shapes:
        raise ShapeError(
            f"got scores {describe(scores)} and labels {describe(labels)}, expected [N] or [N, 1] "
            "of both: one score an example.\nFor K scores use `softmax_cross_entropy` or "
            "`max_margin`."
        )
    unsigned = jnp.issubdtype(labels.dtype, jnp.unsignedinteger) or labels.dtype == jnp.bool_
    if signed and unsigned:
        raise ShapeError(
            f"got labels {describe(labels)}, expected -1 and +1 in a signed integer or floating "
            "dtype.\nLabels 0 and 1 become -1 and +1 by `2 * labels.astype('int32') - 1`."
        )
    x = widen(scores).reshape(-1)
    return x, labels.astype(x.dtype).reshape(-1)


def _check_floating(outputs: Array) -> None:
    if not jnp.issubdtype(outputs.dtype, jnp.floating):
        raise ShapeError(f"got outputs {describe(outputs)}, expected a floating dtype.")


def _check_margin(margin: float) -> None:
    if not 0 < margin < float("inf"):
        raise ConfigError(f"margin={margin!r} is not allowed: expected a positive number.")
