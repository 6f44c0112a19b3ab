"""What losses refuse, and what checks of their labels and logits say."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import losses
from jaxcnn.errors import ConfigError, DataError, ShapeError
from tests.test_losses import CLASSES, SIGNS, every_loss


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        ((2, 3, 4), jnp.zeros(2, jnp.int32)),
        ((2, 3), jnp.zeros(3, jnp.int32)),
        ((2, 3), jnp.zeros((2, 1), jnp.int32)),
        ((2, 3), jnp.zeros((2, 4))),
        ((2, 3), jnp.zeros(2)),
    ],
)
def test_cross_entropy_refuses_shapes_that_do_not_fit(logits, labels):
    with pytest.raises(ShapeError, match=r"got logits .* integer labels \[N\] or floating"):
        losses.softmax_cross_entropy(jnp.zeros(logits), labels)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_cross_entropy_refuses_smoothing_out_of_range(smoothing):
    with pytest.raises(ConfigError, match=r"label_smoothing=.* is not allowed: use \[0, 1\)"):
        losses.softmax_cross_entropy(jnp.zeros((1, 2)), CLASSES[:1], label_smoothing=smoothing)


@pytest.mark.parametrize(
    "labels", [jnp.zeros(2, jnp.int32), jnp.zeros((2, 4)), jnp.zeros((2, 3), jnp.int32)]
)
def test_the_divergence_refuses_what_is_no_distribution(labels):
    with pytest.raises(ShapeError, match=r"(?s)both \[N, K\] and floating.*softmax_cross_entropy"):
        losses.kl_divergence(jnp.zeros((2, 3)), labels)


@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        ((2, 1), CLASSES),
        ((2,), CLASSES),
        ((3, 2), CLASSES),
        ((2, 2), jnp.eye(2)),
        ((2, 2), jnp.zeros(2)),
    ],
)
def test_max_margin_refuses_shapes_that_do_not_fit(scores, labels):
    with pytest.raises(ShapeError, match=r"(?s)got scores .* K at least 2.*use `hinge`"):
        losses.max_margin(jnp.zeros(scores), labels)


@pytest.mark.parametrize("loss", [losses.binary_cross_entropy, losses.logistic, losses.hinge])
@pytest.mark.parametrize(
    ("scores", "labels"),
    [((2, 2), (2,)), ((2, 1), (3,)), ((2,), (2, 2)), ((), ()), ((2, 1, 1), (2,))],
)
def test_one_score_losses_refuse_shapes_that_do_not_fit(loss, scores, labels):
    with pytest.raises(ShapeError, match=r"(?s)expected \[N\] or \[N, 1\].*For K scores use"):
        loss(jnp.zeros(scores), jnp.ones(labels))


@pytest.mark.parametrize("loss", [losses.logistic, losses.hinge])
@pytest.mark.parametrize("dtype", [jnp.bool_, jnp.uint8])
def test_signed_labels_need_a_signed_dtype(loss, dtype):
    with pytest.raises(ShapeError, match=r"(?s)expected -1 and \+1.*2 \* labels"):
        loss(jnp.zeros(2), jnp.ones(2, dtype))


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [((2, 3), (2,)), ((2, 1), (3,)), ((2,), (2, 1)), ((), ()), ((3, 1), (1, 3))],
)
def test_square_refuses_to_broadcast(outputs, targets):
    with pytest.raises(ShapeError, match=r"got outputs .* and targets .*, expected equal shapes"):
        losses.square(jnp.zeros(outputs), jnp.zeros(targets))


@every_loss
def test_integer_outputs_are_refused(loss, shape, labels):
    with pytest.raises(ShapeError, match=r"got outputs int32\[.*\], expected a floating dtype"):
        loss(jnp.zeros(shape, jnp.int32), labels)


@pytest.mark.parametrize("margin", [0.0, -1.0, float("inf"), float("nan")])
def test_margins_must_be_positive(margin):
    message = "margin=.* is not allowed: expected a positive number"
    with pytest.raises(ConfigError, match=message):
        losses.hinge(jnp.zeros(2), SIGNS, margin=margin)
    with pytest.raises(ConfigError, match=message):
        losses.max_margin(jnp.zeros((2, 2)), CLASSES, margin=margin)


def test_check_labels_names_the_first_label_outside():
    losses.check_labels(np.arange(10), 10)
    losses.check_labels(jnp.arange(10), 10)
    losses.check_labels(np.zeros(0, np.int32), 10)
    with pytest.raises(DataError, match=r"label 10 of example 1 is outside 0 .. 9 \(2 of 4") as e:
        losses.check_labels(np.array([1, 10, 2, -1]), 10)
    assert "Count classes from 0" in str(e.value)


@pytest.mark.parametrize("labels", [np.zeros(3), np.zeros((3, 1), np.int32), np.ones(2, bool)])
def test_check_labels_wants_integer_classes(labels):
    with pytest.raises(DataError, match=r"got labels .*, expected integer classes \[N\]"):
        losses.check_labels(labels, 2)


def test_check_logits_tells_probabilities_from_logits(rng):
    logits = rng.normal(size=(8, 3))
    for dtype in (jnp.float32, jnp.bfloat16):
        x = jnp.asarray(logits, dtype)
        losses.check_logits(x)
        losses.check_logits(jax.nn.log_softmax(x))
        with pytest.raises(ConfigError, match=r"(?s)got probabilities.*all 8 rows.*Remove the s"):
            losses.check_logits(jax.nn.softmax(x))


def test_check_logits_lets_pass_what_it_cannot_tell():
    losses.check_logits(np.full((4, 1), 0.5))  # one score
    losses.check_logits(np.zeros((0, 3)))
    losses.check_logits(np.zeros((4, 3)))
    losses.check_logits(np.array([[0.5, 0.5], [0.7, 0.7]]))  # one row is no distribution


def test_the_softmax_of_probabilities_hardly_trains():
    """Why `check_logits` is there: the loss of a sure and right answer stays at 1.46 of 2.30."""
    p = jnp.eye(10)[:1]
    assert losses.softmax_cross_entropy(p, jnp.asarray([0]))[0] == pytest.approx(1.461, abs=1e-3)
    assert float(optax.softmax_cross_entropy(p, p)[0]) == pytest.approx(1.461, abs=1e-3)
