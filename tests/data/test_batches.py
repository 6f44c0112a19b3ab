"""Order, batches and what is done to images in them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import data
from jaxcnn.data.batches import epoch_order, eval_batch, train_batch
from jaxcnn.errors import ConfigError


def test_every_example_once_an_epoch_in_an_order_of_seed_and_epoch(key):
    order = epoch_order(key, 0, 150, 32)
    assert order.shape == (160,)
    assert sorted(order[:150].tolist()) == list(range(150))
    np.testing.assert_array_equal(order, epoch_order(key, 0, 150, 32))
    assert not np.array_equal(order, epoch_order(key, 1, 150, 32))
    assert not np.array_equal(order, epoch_order(jax.random.key(1), 0, 150, 32))
    np.testing.assert_array_equal(order[:150], epoch_order(key, 0, 150, 7)[:150])


@pytest.mark.parametrize(("examples", "batch_size"), [(10, 3), (10, 5), (10, 10), (3, 10)])
def test_batches_hold_each_example_once(key, examples, batch_size):
    images = jnp.arange(examples, dtype=jnp.uint8).reshape(-1, 1, 1, 1)
    labels = jnp.arange(examples)
    order = epoch_order(key, 0, examples, batch_size)
    seen: list[int] = []
    for position in range(data.steps_per_epoch(examples, batch_size)):
        batch = train_batch(
            images, labels, order, key, epoch=0, position=position, batch_size=batch_size
        )
        assert batch.images.shape == (batch_size, 1, 1, 1)
        np.testing.assert_array_equal(batch.images[:, 0, 0, 0], batch.labels)
        seen += np.asarray(batch.labels)[np.asarray(batch.mask)].tolist()
    assert sorted(seen) == list(range(examples))


def test_augmentation_does_not_depend_on_the_batch_size(key, small):
    images, labels = jnp.asarray(small.train.images), jnp.asarray(small.train.labels)

    def epoch(batch_size):
        order = epoch_order(key, 2, 150, batch_size)
        batches = [
            train_batch(
                images,
                labels,
                order,
                key,
                epoch=2,
                position=position,
                batch_size=batch_size,
                augment=data.Shift(2),
            )
            for position in range(data.steps_per_epoch(150, batch_size))
        ]
        return np.concatenate([np.asarray(b.images)[np.asarray(b.mask)] for b in batches])

    np.testing.assert_array_equal(epoch(32), epoch(150))
    assert not np.array_equal(epoch(150), small.train.images)


def test_evaluation_batches_keep_the_order(small):
    images, labels = jnp.asarray(small.test.images), jnp.asarray(small.test.labels)
    batches = [eval_batch(images, labels, i, 20) for i in range(3)]
    seen = np.concatenate([np.asarray(b.labels)[np.asarray(b.mask)] for b in batches])
    np.testing.assert_array_equal(seen, small.test.labels)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5])
def test_batch_sizes_that_make_no_sense_are_refused(batch_size):
    with pytest.raises(ConfigError, match=r"batch_size=.* is not allowed"):
        data.steps_per_epoch(10, batch_size)


def test_a_shift_is_a_window_of_the_padded_image(key):
    image = jnp.arange(1, 13, dtype=jnp.uint8).reshape(4, 3, 1)
    padded = np.pad(np.asarray(image), ((2, 2), (2, 2), (0, 0)))
    windows = {padded[i : i + 4, j : j + 3].tobytes() for i in range(5) for j in range(5)}
    shifted = {np.asarray(data.Shift(2)(k, image)).tobytes() for k in jax.random.split(key, 99)}
    assert shifted <= windows
    assert len(shifted) > 20
    np.testing.assert_array_equal(data.Shift(0)(key, image), image)
    with pytest.raises(ConfigError, match="pixels=-1"):
        data.Shift(-1)
