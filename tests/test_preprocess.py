"""Preparation of images, and its statistics, against NumPy float64."""

from __future__ import annotations

import json
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import data
from jaxcnn.data.preprocess import SubtractMeanImage
from jaxcnn.errors import ConfigError, DataError, ShapeError


def made(count=300, shape=(6, 5, 3), seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(256, size=(count, *shape)).astype(np.uint8)
    images[..., 0] //= 3  # channels that differ
    labels = rng.integers(2, size=count).astype(np.int32)
    return data.Dataset("made", images, labels, ("a", "b"), "made by the test")


@pytest.fixture
def dataset():
    return made()


@pytest.fixture
def scaled(dataset):
    return dataset.images.astype(np.float64) / 255


def test_scale():
    images = jnp.arange(256, dtype=jnp.uint8).reshape(1, 16, 16, 1)
    reference = np.arange(256).reshape(1, 16, 16, 1) / 255
    np.testing.assert_allclose(data.Scale()(images), reference, rtol=1e-6)
    assert data.Scale()(images).dtype == jnp.float32


def test_mean_image(dataset, scaled, monkeypatch):
    monkeypatch.setattr(data.preprocess, "_PART", 1000)  # several parts
    prepare = data.fit_mean_image(dataset)
    np.testing.assert_allclose(prepare.mean, scaled.mean(0), rtol=1e-7)
    out = prepare(jnp.asarray(dataset.images))
    np.testing.assert_allclose(out, scaled - scaled.mean(0), atol=1e-6)
    np.testing.assert_allclose(np.asarray(out, np.float64).mean(0), 0, atol=1e-7)


def test_channel_mean(dataset, scaled, monkeypatch):
    monkeypatch.setattr(data.preprocess, "_PART", 1000)
    prepare = data.fit_channel_mean(dataset)
    np.testing.assert_allclose(prepare.mean, scaled.mean((0, 1, 2)), rtol=1e-13)
    out = prepare(jnp.asarray(dataset.images))
    np.testing.assert_allclose(out, scaled - scaled.mean((0, 1, 2)), atol=1e-6)


def test_mean_and_deviation(dataset, scaled, monkeypatch):
    monkeypatch.setattr(data.preprocess, "_PART", 1000)
    prepare = data.fit_mean_deviation(dataset)
    mean, deviation = scaled.mean((0, 1, 2)), scaled.std((0, 1, 2))
    np.testing.assert_allclose(prepare.mean, mean, rtol=1e-13)
    np.testing.assert_allclose(prepare.deviation, deviation, rtol=1e-13)
    out = np.asarray(prepare(jnp.asarray(dataset.images)), np.float64)
    np.testing.assert_allclose(out, (scaled - mean) / deviation, atol=1e-5)
    np.testing.assert_allclose(out.mean((0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(out.std((0, 1, 2)), 1, atol=1e-6)


def test_a_constant_channel_has_no_deviation(dataset):
    dataset.images[..., 1] = 51
    with pytest.raises(DataError, match=r"channel 1 is 0.2 everywhere.*Use fit_channel_mean"):
        data.fit_mean_deviation(dataset)
    assert data.fit_channel_mean(dataset).mean[1] == pytest.approx(0.2, rel=1e-12)


@pytest.mark.parametrize("fit", [data.fit_mean_image, data.fit_mean_deviation, data.fit_pca_noise])
def test_fitting_needs_little_memory(fit):
    dataset = made(20_000, (32, 32, 3))  # 61 MB, 490 MB in float64
    tracemalloc.start()
    fit(dataset)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40e6


def test_pad_makes_32_of_28():
    images = np.random.default_rng(0).integers(256, size=(3, 28, 28, 1)).astype(np.uint8)
    padded = data.Pad(2)(jnp.asarray(images))
    assert padded.shape == (3, 32, 32, 1)
    assert padded.dtype == jnp.uint8
    np.testing.assert_array_equal(padded, np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0))))
    assert data.Pad(1, value=7)(jnp.asarray(images))[0, 0, 0, 0] == 7
    np.testing.assert_array_equal(data.Pad(0)(jnp.asarray(images)), images)


def test_steps_run_in_order(dataset):
    images = jnp.asarray(dataset.images)
    both = data.Steps((data.Pad(1), data.Scale()))
    np.testing.assert_array_equal(both(images), data.Scale()(data.Pad(1)(images)))
    np.testing.assert_array_equal(data.Steps(())(images), images)


def prepared(dataset):
    return [
        data.Scale(),
        data.Pad(2),
        data.fit_mean_image(dataset),
        data.fit_channel_mean(dataset),
        data.fit_mean_deviation(dataset),
        data.Steps((data.Pad(1), data.fit_mean_deviation(dataset))),
        data.fit_pca_noise(dataset),
        data.Compose((data.RandomCrop(4, size=(5, 5), border="edge"), data.AlternatingFlip(3))),
        data.Compose(
            (data.Shift(2), data.Flip(0.3), data.Cutout(4), data.Affine(15, 1, 0.1, 5),
             data.Elastic(8, 3), data.Jitter(0.1, 0.2, 0.3))
        ),
        data.Mixup(10),
        data.Cutmix(10, 0.5),
    ]  # fmt: skip


def test_stored_and_read_back_they_are_equal_and_hash_alike(dataset):
    for function in prepared(dataset):
        text = json.dumps(data.to_dict(function), allow_nan=False)
        again = data.from_dict(json.loads(text))
        assert again == function
        assert hash(again) == hash(function)
        assert "0x" not in repr(function)
        assert len(repr(function)) < 500
    assert data.fit_mean_image(dataset) != data.fit_mean_image(made(seed=1))


def test_they_may_be_static_arguments_and_jit_equals_eager(dataset):
    images = jnp.asarray(dataset.images[:4])
    run = jax.jit(lambda prepare, images: prepare(images), static_argnums=0)
    for prepare in prepared(dataset)[:6]:
        np.testing.assert_allclose(run(prepare, images), prepare(images), rtol=1e-5, atol=1e-6)


def test_what_is_not_ours_cannot_be_stored():
    with pytest.raises(ConfigError, match=r"cannot be stored: expected one of jaxcnn.data, Affine"):
        data.to_dict(lambda images: images)
    with pytest.raises(ConfigError, match="cannot be stored"):
        data.to_dict(data.Steps((np.sqrt,)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "Blur"}, "kind='Blur' is unknown: use one of Affine"),
        ({}, "kind=None is unknown"),
        ({"kind": "Shift", "pixel": 2}, r"cannot make a Shift of \['pixel'\]"),
        ({"kind": "Shift", "pixels": -2}, "pixels=-2 is not allowed"),
    ],
)
def test_refused_descriptions(values, message):
    with pytest.raises(ConfigError, match=message):
        data.from_dict(values)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: data.Standardize(()), r"mean=\(\) is not allowed"),
        (lambda: data.Standardize((float("nan"),)), "mean=.*nan.* is not allowed"),
        (lambda: data.Standardize((0.5, 0.5), (1.0,)), "got 2 means and 1 deviations"),
        (lambda: data.Standardize((0.5,), (0.0,)), "deviation=.* expected positive numbers"),
        (lambda: SubtractMeanImage((2, 2, 1), b"1234"), "got 4 bytes .* expected 16"),
        (lambda: data.Pad(-1), "pixels=-1 is not allowed"),
        (lambda: data.Steps((3,)), "part 3 is not allowed: expected a function"),
    ],
)
def test_refused_settings(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_images_that_do_not_fit(dataset):
    grey = jnp.zeros((2, 6, 5, 1), jnp.uint8)
    with pytest.raises(ShapeError, match=r"got images uint8\[2, 6, 5, 1\], expected 3 channels"):
        data.fit_channel_mean(dataset)(grey)
    with pytest.raises(ShapeError, match=r"expected \[N, 6, 5, 3\], as the mean image"):
        data.fit_mean_image(dataset)(grey)
