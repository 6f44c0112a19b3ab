"""Augmentation and mixing against NumPy and scipy.ndimage in float64."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from jaxcnn import data
from jaxcnn.data.augment import warp
from jaxcnn.data.batches import epoch_order, train_batch
from jaxcnn.errors import ConfigError, ShapeError

SHAPE = (12, 10, 3)
PCA = data.PCANoise((0.2, 0.02, 0.005), ((0.6, 0.7, 0.4), (0.6, 0.0, -0.8), (0.5, -0.7, 0.4)), 1.0)
ALL = [
    data.Shift(2),
    data.RandomCrop(3),
    data.RandomCrop(2, border="reflect"),
    data.RandomCrop(2, border="edge"),
    data.Flip(),
    data.Cutout(5, fill=9),
    data.Affine(degrees=30, pixels=2, zoom=0.2, shear=10),
    data.Elastic(alpha=20, sigma=2),
    data.Jitter(0.5, 0.5, 0.5),
    PCA,
    data.Compose((data.RandomCrop(2), data.Flip(), data.Jitter(0.3))),
    data.Sometimes(data.Affine(degrees=30), 0.9),
]
SAME = [
    data.Shift(0),
    data.RandomCrop(),
    data.RandomCrop(size=SHAPE[:2]),
    data.Flip(0.0),
    data.Cutout(0),
    data.Affine(),
    data.Elastic(alpha=0, sigma=3),
    data.Jitter(),
    data.PCANoise((1.0,) * 3, ((1.0,) * 3,) * 3, deviation=0.0),
    data.Compose(()),
    data.Compose((data.Affine(), data.Jitter())),
    data.Sometimes(data.Affine(degrees=30), 0.0),
    data.Sometimes(data.Affine(), 1.0),
]


def name(augment):
    return repr(augment).partition("(")[0]


@pytest.fixture
def image(rng):
    return jnp.asarray(rng.integers(256, size=SHAPE).astype(np.uint8))


def pixels(image):
    return np.asarray(image).astype(np.float64)


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def rounded(reference):
    return np.clip(np.round(reference), 0, 255)


def assert_close(ours, reference):
    """Equal but where float32 falls on the other side of a half."""
    off = np.abs(pixels(ours) - rounded(reference))
    assert off.max() <= 1
    assert (off > 0).mean() < 0.01
    fraction = np.abs(reference - np.floor(reference) - 0.5)
    inside = (reference > 0) & (reference < 255)
    assert not (off > 0)[inside & (fraction > 1e-2)].any()


def assert_same(one, other):
    """Equal but for single pixels: programs that sum float32 in another order may round a half
    the other way."""
    off = np.abs(pixels(one) - pixels(other))
    assert off.max() <= 1
    assert (off > 0).mean() < 0.01


ORDER = jax.jit(epoch_order, static_argnums=(2, 3))


# What all of them obey


@pytest.mark.parametrize("augment", ALL, ids=name)
def test_same_key_same_result_and_loops_equal_vmap_and_jit(augment, rng):
    images = jnp.asarray(rng.integers(256, size=(6, *SHAPE)).astype(np.uint8))
    single, mapped = jax.jit(augment), jax.jit(jax.vmap(augment))
    one_by_one = [single(key, image) for key, image in zip(keys(6), images, strict=True)]
    eager = augment(keys(6)[0], images[0])
    assert eager.dtype == jnp.uint8
    assert eager.shape == SHAPE
    assert_same(mapped(keys(6), images), jnp.stack(one_by_one))
    assert_same(eager, one_by_one[0])
    np.testing.assert_array_equal(augment(keys(6)[0], images[0]), eager)
    repeated = mapped(keys(6), jnp.broadcast_to(images[0], images.shape))
    assert np.unique(repeated, axis=0).shape[0] > 1


@pytest.mark.parametrize("augment", SAME, ids=name)
def test_parameters_that_do_nothing_give_the_image(augment, image):
    for key in keys(3):
        np.testing.assert_array_equal(augment(key, image), image)
        np.testing.assert_array_equal(jax.jit(augment)(key, image), image)


@pytest.mark.parametrize("augment", [*ALL, data.AlternatingFlip()], ids=name)
def test_a_batch_depends_on_run_epoch_and_row_alone(augment, rng):
    images = jnp.asarray(rng.integers(256, size=(20, *SHAPE)).astype(np.uint8))
    labels = jnp.arange(20, dtype=jnp.int32)
    key = jax.random.key(3)

    def epoch(batch_size, epoch):
        order = ORDER(key, epoch, 20, batch_size)
        run = jax.jit(partial(train_batch, batch_size=batch_size, augment=augment))
        batches = [
            run(images, labels, order, key, epoch=jnp.int32(epoch), position=jnp.int32(position))
            for position in range(-(-20 // batch_size))
        ]
        return jnp.concatenate([batch.images for batch in batches])[:20]

    assert_same(epoch(4, 1), epoch(7, 1))
    assert (epoch(4, 1) != epoch(4, 2)).any()


# Whole pixels


@pytest.mark.parametrize("border", ["zero", "reflect", "edge"])
@pytest.mark.parametrize("size", [None, (7, 9)])
def test_a_crop_is_a_window_of_the_padded_image_and_all_windows_occur(border, size, image):
    mode = {"zero": "constant"}.get(border, border)
    padded = np.pad(np.asarray(image), ((2, 2), (2, 2), (0, 0)), mode=mode)
    height, width = size or SHAPE[:2]
    windows = {
        padded[r : r + height, c : c + width].tobytes(): (r, c)
        for r in range(padded.shape[0] - height + 1)
        for c in range(padded.shape[1] - width + 1)
    }
    crop = data.RandomCrop(2, size=size, border=border)
    crops = jax.vmap(crop, (0, None))(keys(1500), image)
    assert crops.shape[1:] == (height, width, 3)
    seen = [windows[np.asarray(one).tobytes()] for one in crops]
    assert set(seen) == set(windows.values())


def test_a_shift_is_a_crop_of_the_image_with_its_own_size(image):
    moved = np.asarray(jax.vmap(data.Shift(1), (0, None))(keys(200), image))
    padded = np.pad(np.asarray(image), ((1, 1), (1, 1), (0, 0)))
    windows = {padded[r : r + 12, c : c + 10].tobytes() for r in range(3) for c in range(3)}
    assert {one.tobytes() for one in moved} == windows


@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_flips_come_as_often_as_asked(probability, image):
    flipped = jax.vmap(data.Flip(probability), (0, None))(keys(2000), image)
    mirrored = (np.asarray(flipped) == np.asarray(image)[:, ::-1]).all((1, 2, 3))
    as_it_is = (np.asarray(flipped) == np.asarray(image)).all((1, 2, 3))
    assert (mirrored ^ as_it_is).all()
    deviation = np.sqrt(probability * (1 - probability) / 2000)
    assert abs(mirrored.mean() - probability) <= 4 * deviation


def test_alternating_flips_alternate_and_half_begin_mirrored(image):
    flip = data.AlternatingFlip(seed=5)
    places = jnp.arange(400, dtype=jnp.int32)

    def mirrored(epoch):
        example = data.Example(jnp.full_like(places, epoch), places)
        out = jax.vmap(flip, (None, None, 0))(jax.random.key(0), image, example)
        return (np.asarray(out) == np.asarray(image)[:, ::-1]).all((1, 2, 3))

    first = mirrored(0)
    assert abs(first.mean() - 0.5) < 0.1
    np.testing.assert_array_equal(mirrored(1), ~first)
    np.testing.assert_array_equal(mirrored(2), first)
    composed = data.Compose((data.Shift(0), flip))
    example = data.Example(jnp.int32(0), places[0])
    np.testing.assert_array_equal(
        composed(jax.random.key(9), image, example), flip(jax.random.key(0), image, example)
    )
    assert composed.uses_example
    assert not data.Compose((data.Flip(),)).uses_example
    with pytest.raises(ConfigError, match="must know example and epoch"):
        flip(jax.random.key(0), image)


def test_sometimes_is_as_often_as_it_says(image):
    turn = data.Sometimes(data.Flip(1.0), 0.3)
    keys = jax.random.split(jax.random.key(0), 1000)
    out = np.asarray(jax.vmap(turn, (0, None))(keys, image))
    flipped = (out == np.asarray(image)[:, ::-1]).all((1, 2, 3))
    assert ((out == np.asarray(image)).all((1, 2, 3)) | flipped).all()
    assert abs(flipped.mean() - 0.3) < 0.06  # four deviations


def test_train_batch_tells_epoch_and_place():
    images = jnp.zeros((10, 2, 2, 1), jnp.uint8)

    def tell(key, image, example):
        return jnp.full_like(image, 20 * example.epoch + example.place)

    tell.uses_example = True
    order = epoch_order(jax.random.key(0), 3, 10, 4)
    batch = train_batch(
        images, jnp.zeros(10, jnp.int32), order, jax.random.key(0),
        epoch=jnp.int32(3), position=jnp.int32(1), batch_size=4, augment=tell,
    )  # fmt: skip
    np.testing.assert_array_equal(batch.images[:, 0, 0, 0], 60 + order[4:8])


@pytest.mark.parametrize("size", [1, 4, 5, 40])
def test_cutout_fills_a_square_cut_off_at_the_edge(size, image):
    seen = set()
    for out in np.asarray(jax.vmap(data.Cutout(size, fill=7), (0, None))(keys(2000), image)):
        rows, columns = np.nonzero((out == 7).all(-1) & (np.asarray(image) != 7).any(-1))
        top, left, height, width = rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1
        assert len(rows) == height * width
        expected = np.asarray(image).copy()
        expected[top : top + height, left : left + width] = 7
        np.testing.assert_array_equal(out, expected)
        seen.add((top, left, height, width))
    places = {
        (
            max(r - size // 2, 0),
            max(c - size // 2, 0),
            min(r - size // 2 + size, 12) - max(r - size // 2, 0),
            min(c - size // 2 + size, 10) - max(c - size // 2, 0),
        )
        for r in range(12)
        for c in range(10)
    }
    assert seen == places


# Fractions of pixels


def scipy_affine(image, matrix, move):
    middle = (np.array(image.shape[:2]) - 1) / 2
    offset = middle - matrix @ (middle + move)
    channels = [
        scipy.ndimage.affine_transform(
            channel, matrix, offset, order=1, mode="grid-constant", cval=0.0
        )
        for channel in np.moveaxis(pixels(image), -1, 0)
    ]
    return np.stack(channels, -1)


@pytest.mark.parametrize(
    ("degrees", "zoom", "shear", "move"),
    [
        (20, 1, 0, (0, 0)), (-45, 1, 0, (0, 0)), (0, 1.3, 0, (0, 0)), (0, 0.7, 0, (0, 0)),
        (0, 1, 15, (0, 0)), (0, 1, 0, (1.25, -2.5)), (33, 1.1, -8, (-0.7, 1.9)),
    ],
)  # fmt: skip
def test_affine_is_that_of_scipy(degrees, zoom, shear, move, image):
    a, s = np.deg2rad(degrees), np.deg2rad(shear)
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    forward = turn @ np.array([[1, 0], [np.tan(s), 1]]) * zoom
    ours = warp.affine_matrix(jnp.float32(a), jnp.float32(zoom), jnp.float32(s))
    np.testing.assert_allclose(ours, np.linalg.inv(forward), atol=1e-6)
    out = warp.affine(image, ours, jnp.asarray(move, jnp.float32))
    assert_close(out, scipy_affine(image, np.linalg.inv(forward), np.array(move)))


def test_a_turn_is_anticlockwise_and_that_of_scipy():
    square = jnp.asarray(np.random.default_rng(0).integers(256, size=(9, 9, 1)).astype(np.uint8))
    none = jnp.zeros(2)

    def turned(degrees):
        angle = jnp.deg2rad(jnp.float32(degrees))
        return warp.affine(square, warp.affine_matrix(angle, jnp.ones(()), jnp.zeros(())), none)

    np.testing.assert_array_equal(turned(90), np.rot90(square))
    np.testing.assert_array_equal(turned(180), np.rot90(square, 2))
    reference = scipy.ndimage.rotate(
        pixels(square), 25, reshape=False, order=1, mode="grid-constant"
    )
    assert_close(turned(25), reference)


def test_the_amounts_of_affine_stay_within_their_limits(image, monkeypatch):
    seen = []
    monkeypatch.setattr(warp, "affine", lambda image, matrix, move: seen.append((matrix, move)))
    augment = data.Affine(degrees=10, pixels=2, zoom=0.2, shear=5)
    for key in keys(300):
        augment(key, image)
    matrices, moves = (np.stack(part) for part in zip(*seen, strict=True))
    zooms = 1 / np.sqrt(np.linalg.det(matrices))
    degrees = np.rad2deg(np.arctan2(matrices[:, 0, 1], matrices[:, 0, 0]))
    for values, limit in ((zooms - 1, 0.2), (degrees, 10), (moves, 2)):
        assert np.abs(values).max() <= limit * (1 + 1e-4)
        assert values.min() < -0.95 * limit
        assert values.max() > 0.95 * limit


@pytest.mark.parametrize(("alpha", "sigma"), [(34.0, 4.0), (8.0, 1.5), (3.0, 0.4)])
def test_elastic_is_that_of_scipy(alpha, sigma, image, rng):
    noise = rng.uniform(-1, 1, size=(2, *SHAPE[:2])).astype(np.float32)
    field = [
        alpha * scipy.ndimage.gaussian_filter(one, sigma, mode="constant")
        for one in noise.astype(np.float64)
    ]
    rows, columns = np.meshgrid(*(np.arange(n) for n in SHAPE[:2]), indexing="ij")
    reference = np.stack(
        [
            scipy.ndimage.map_coordinates(
                channel, [rows + field[0], columns + field[1]], order=1, mode="grid-constant"
            )
            for channel in np.moveaxis(pixels(image), -1, 0)
        ],
        -1,
    )
    out = warp.elastic(image, jnp.asarray(noise), alpha, sigma)
    assert_close(out, reference)
    assert (np.asarray(out) != np.asarray(image)).any()


# What is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: data.Shift(-1), "pixels=-1 is not allowed"),
        (lambda: data.RandomCrop(-1), "padding=-1 is not allowed: expected an int, 0 or more"),
        (lambda: data.RandomCrop(size=(0, 3)), "size=0 is not allowed: expected an int, 1 or more"),
        (lambda: data.RandomCrop(border="wrap"), "border='wrap' is not allowed: use one of zero"),
        (lambda: data.Flip(1.5), r"probability=1.5 is not allowed: expected a number in \[0, 1\]"),
        (lambda: data.Cutout(-1), "size=-1 is not allowed"),
        (lambda: data.Cutout(3, fill=256), "fill=256 is not allowed: expected an int in 0 .. 255"),
        (lambda: data.Affine(degrees=-1), "degrees=-1 is not allowed: expected 0 or more"),
        (lambda: data.Affine(pixels=float("inf")), "pixels=inf is not allowed"),
        (lambda: data.Affine(zoom=1), r"zoom=1 is not allowed: expected a number in \[0, 1\)"),
        (lambda: data.Affine(shear=90), r"shear=90 is not allowed: expected a number in \[0, 90\)"),
        (lambda: data.Elastic(-1, 1), "alpha=-1 is not allowed"),
        (lambda: data.Elastic(1, 0), "sigma=0 is not allowed: expected a positive number"),
        (lambda: data.Jitter(contrast=2), r"contrast=2 is not allowed: expected a number in \[0"),
        (lambda: data.PCANoise((1.0,), ((1.0,),), -1), "deviation=-1 is not allowed"),
        (lambda: data.PCANoise((-1.0,), ((1.0,),)), "eigenvalues=-1.0 is not allowed"),
        (lambda: data.PCANoise((1.0, 1.0), ((1.0,),)), "got 2 eigenvalues and eigenvectors"),
        (lambda: data.Sometimes(data.Flip(), 1.5), "probability=1.5 is not allowed: expected a nu"),
        (
            lambda: data.Sometimes(data.AlternatingFlip(), 0.5),
            "is not allowed: expected a function",
        ),
        (lambda: data.Compose((3,)), "part 3 is not allowed: expected a function"),
        (lambda: data.Mixup(0), "classes=0 is not allowed"),
        (lambda: data.Mixup(10, alpha=0), "alpha=0 is not allowed: expected a positive number"),
        (lambda: data.Cutmix(10, alpha=-1), "alpha=-1 is not allowed"),
    ],
)
def test_refused_settings(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_crop_larger_than_the_image(image):
    with pytest.raises(ShapeError, match=r"cannot crop 13x5 out of uint8\[12, 10, 3\]"):
        data.RandomCrop(size=(13, 5))(jax.random.key(0), image)


def test_pca_noise_of_another_number_of_channels(image):
    with pytest.raises(ShapeError, match=r"uint8\[12, 10, 1\], expected 3 channels"):
        PCA(jax.random.key(0), image[..., :1])


@pytest.mark.parametrize(
    "augment", [data.Affine(), data.Elastic(1, 1), data.Jitter(), PCA], ids=name
)
def test_a_batch_or_floats_are_refused(augment, image):
    for wrong in (image[None], image.astype(jnp.float32)):
        with pytest.raises((ShapeError, ConfigError), match=r"expected uint8\[H, W, C\].*jax.vmap"):
            augment(jax.random.key(0), wrong)
