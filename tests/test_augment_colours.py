"""Colours and mixing of training images against NumPy in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import data
from jaxcnn.data.augment.colour import jitter
from jaxcnn.errors import ShapeError
from jaxcnn.typing import Batch
from tests.test_augment import PCA, SHAPE, assert_close, assert_same, keys, name, pixels


@pytest.fixture
def image(rng):
    return jnp.asarray(rng.integers(256, size=SHAPE).astype(np.uint8))


# Colours


def test_jitter_by_its_formulas(image):
    for factors in ((1.4, 1, 1), (0.5, 1, 1), (1, 1.8, 1), (1, 0, 1), (1, 1, 0), (1.3, 0.6, 1.9)):
        x = np.clip(factors[0] * pixels(image), 0, 255)
        mean = (x @ [0.299, 0.587, 0.114]).mean()
        x = np.clip(factors[1] * x + (1 - factors[1]) * mean, 0, 255)
        grey = (x @ [0.299, 0.587, 0.114])[..., None]
        assert_close(
            jitter(image, jnp.asarray(factors, jnp.float32)),
            factors[2] * x + (1 - factors[2]) * grey,
        )


def test_jitter_of_a_grey_image_has_no_saturation(image):
    grey = image[..., :1]
    np.testing.assert_array_equal(data.Jitter(saturation=1.0)(jax.random.key(0), grey), grey)
    with pytest.raises(ShapeError, match=r"uint8\[12, 10, 2\], expected 1 or 3 channels"):
        data.Jitter()(jax.random.key(0), image[..., :2])


def test_pca_noise_is_fitted_to_the_covariance_of_the_pixels(rng, monkeypatch):
    mix = rng.normal(size=(3, 3))
    colours = np.clip(128 + 30 * rng.normal(size=(400, 4, 5, 3)) @ mix, 0, 255).astype(np.uint8)
    made = data.Dataset("made", colours, np.zeros(400, np.int32), ("a",), "made by the test")
    noise = data.fit_pca_noise(made, deviation=0.3)
    covariance = np.cov(colours.reshape(-1, 3).T.astype(np.float64) / 255, bias=True)
    values, vectors = np.array(noise.eigenvalues), np.array(noise.eigenvectors)
    np.testing.assert_allclose(vectors @ np.diag(values) @ vectors.T, covariance, rtol=1e-10)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-12)
    assert list(values) == sorted(values, reverse=True)
    assert noise.deviation == 0.3


def test_pca_noise_adds_one_colour_of_the_right_spread():
    image = jnp.full((2, 2, 3), 128, jnp.uint8)
    out = pixels(jax.vmap(PCA, (0, None))(keys(4000), image))
    assert (out == out[:, :1, :1]).all()
    noise = out[:, 0, 0] - 128
    scaled = np.array(PCA.eigenvectors) * np.array(PCA.eigenvalues)
    covariance = 255**2 * scaled @ scaled.T  # a of deviation 1
    np.testing.assert_allclose(np.cov(noise.T), covariance, rtol=0.1, atol=20)


# Mixing


def batch_of(rng, count=6, valid=None, classes=4):
    images = rng.integers(256, size=(count, 5, 6, 2)).astype(np.uint8)
    mask = np.arange(count) < (count if valid is None else valid)
    labels = rng.integers(classes, size=count).astype(np.int32)
    return Batch(jnp.asarray(images), jnp.asarray(labels), jnp.asarray(mask))


@pytest.mark.parametrize("valid", [6, 4, 1])
@pytest.mark.parametrize("mix", [data.Mixup(4, alpha=1.0), data.Cutmix(4)], ids=name)
def test_mixing_shares_image_and_label_alike_with_the_next_row(mix, valid, rng):
    batch = batch_of(rng, valid=valid)
    mixed = jax.jit(mix)(jax.random.key(1), batch)
    assert mixed.images.dtype == jnp.uint8
    assert mixed.labels.dtype == jnp.float32
    np.testing.assert_array_equal(mixed.mask, batch.mask)
    np.testing.assert_allclose(mixed.labels.sum(1), 1, rtol=1e-6)
    one_hot = np.eye(4)[np.asarray(batch.labels)]
    x = pixels(batch.images)
    for row in range(valid):
        other = (row + 1) % valid
        apart = x[row] != x[other]
        if valid == 1:
            np.testing.assert_array_equal(mixed.images[row], batch.images[row])
            continue
        if isinstance(mix, data.Mixup):
            # The share that explains the image, by least squares.
            difference = (x[row] - x[other]).ravel()
            share = (pixels(mixed.images[row]) - x[other]).ravel() @ difference
            share /= difference @ difference
            reference = share * x[row] + (1 - share) * x[other]
            assert np.abs(pixels(mixed.images[row]) - reference).max() < 1
            tolerance = 0.01
        else:
            theirs = (pixels(mixed.images[row]) == x[other]) & apart
            ours = (pixels(mixed.images[row]) == x[row]) & apart
            np.testing.assert_array_equal(theirs | ours, apart)
            pasted = theirs.any(-1)
            rows, columns = np.nonzero(pasted)
            if len(rows):
                assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
            share, tolerance = 1 - pasted.mean(), 1e-6
        expected = share * one_hot[row] + (1 - share) * one_hot[other]
        np.testing.assert_allclose(mixed.labels[row], expected, atol=tolerance)


@pytest.mark.parametrize("mix", [data.Mixup(4), data.Cutmix(4)], ids=name)
def test_mixing_depends_on_the_batch_size_in_last_rows_only(mix, rng):
    whole = batch_of(rng, 12)
    key = jax.random.key(2)
    at_once = jax.jit(mix)(key, whole)
    run = jax.jit(mix)
    for first in range(0, 12, 4):
        part = jax.tree.map(lambda a, f=first: a[f : f + 4], whole)
        mixed = run(key, part, first_row=jnp.int32(first))
        inner = slice(first, first + 3)
        assert_same(mixed.images[:-1], at_once.images[inner])
        np.testing.assert_allclose(mixed.labels[:-1], at_once.labels[inner], rtol=1e-5)
    assert len(np.unique(at_once.labels.max(1))) > 1  # a share for each row


def test_mixup_draws_of_beta_and_takes_soft_labels_and_floating_images(rng):
    count = 2000
    images = jnp.concatenate([jnp.zeros((count // 2, 1, 1, 1)), jnp.ones((count // 2, 1, 1, 1))], 1)
    images = images.reshape(count, 1, 1, 1)  # 0, 1, 0, 1, ...
    labels = jnp.eye(2)[jnp.arange(count) % 2]
    batch = Batch(images, labels)  # no mask: every row counts
    mixed = jax.jit(data.Mixup(2, alpha=0.4))(jax.random.key(0), batch)
    share = np.asarray(jnp.where(images[:, 0, 0, 0] == 1, mixed.images[:, 0, 0, 0],
                                 1 - mixed.images[:, 0, 0, 0]))  # fmt: skip
    np.testing.assert_allclose(mixed.images[:, 0, 0, 0], mixed.labels[:, 1], atol=1e-6)
    assert share.mean() == pytest.approx(0.5, abs=0.03)
    assert share.var() == pytest.approx(1 / (4 * (2 * 0.4 + 1)), rel=0.05)


def test_labels_that_cannot_be_mixed(rng):
    batch = batch_of(rng)._replace(labels=jnp.zeros((6, 3)))
    for mix in (data.Mixup(4), data.Cutmix(4)):
        with pytest.raises(ShapeError, match=r"float32\[6, 3\], expected integers \[N\] or floats"):
            mix(jax.random.key(0), batch)
