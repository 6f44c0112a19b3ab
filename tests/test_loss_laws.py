"""Laws that every loss obeys, over the catalogue."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxcnn import losses
from tests.catalog import LOSSES, LossEntry


@pytest.fixture(params=LOSSES, ids=lambda entry: entry.name)
def entry(request) -> LossEntry:
    return request.param


def batch(entry: LossEntry, dtype=jnp.float32):
    outputs = 1.5 * jax.random.normal(jax.random.key(3), (4, *entry.outputs), dtype)
    labels = np.asarray(entry.labels)
    return outputs, jnp.asarray(labels, dtype if labels.dtype.kind == "f" else jnp.int32)


def test_every_loss_is_in_the_catalogue():
    public = {name for name in vars(losses) if not name.startswith("_")}
    taken = {
        name
        for name in public
        if getattr(losses, name, None).__class__.__name__ == "function"
        and getattr(losses, name).__module__ == "jaxcnn.losses"
    }
    about_examples = taken - {"l2_penalty", "check_labels", "check_logits"}
    assert about_examples == {
        e.name.removesuffix("_soft").removesuffix("_smoothed") for e in LOSSES
    }


def test_one_number_for_each_example_that_depends_on_it_alone(entry):
    outputs, labels = batch(entry)
    whole = entry.loss(outputs, labels)
    assert whole.shape == (4,)
    for i in range(4):
        alone = entry.loss(outputs[i : i + 1], labels[i : i + 1])
        np.testing.assert_allclose(alone[0], whole[i], rtol=1e-6)


def test_jit_equals_eager(entry):
    np.testing.assert_allclose(
        jax.jit(entry.loss)(*batch(entry)), entry.loss(*batch(entry)), rtol=1e-5, atol=1e-6
    )


def test_losses_are_never_negative_and_float32_for_bfloat16(entry):
    outputs, labels = batch(entry, jnp.bfloat16)
    result = entry.loss(outputs, labels)
    assert result.dtype == jnp.float32
    assert float(result.min()) >= -1e-6


def test_analytic_equals_numerical_gradient_in_float64(entry):
    with jax.enable_x64(True):
        outputs, labels = batch(entry, jnp.float64)
        weights = jnp.asarray([0.3, -1.0, 2.0, 0.7], jnp.float64)
        check_grads(
            lambda x: jnp.sum(weights * entry.loss(x, labels)), (outputs,), order=2,
            modes=["fwd", "rev"], rtol=1e-6, atol=1e-6, eps=1e-6,
        )  # fmt: skip


def test_large_outputs_give_finite_losses_and_gradients(entry):
    outputs, labels = batch(entry)
    value, gradient = jax.value_and_grad(lambda x: jnp.sum(entry.loss(x, labels)))(1e4 * outputs)
    assert np.isfinite(float(value))
    assert np.isfinite(np.asarray(gradient)).all()
