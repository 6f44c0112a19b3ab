"""The decks' printed figures for operations. The deck's letter is in each test's name."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import functional as F
from jaxcnn import nn
from jaxcnn.errors import ShapeError
from tests import reference


def image(rows):
    return jnp.asarray(rows, jnp.float32)[None, :, :, None]


def kernel(rows):
    return jnp.asarray(rows, jnp.float32)[:, :, None, None]


def grid(y):
    return np.asarray(y)[0, ..., 0]


def test_b_convolution_in_one_dimension():
    x, theta = jnp.asarray([1.0, 1, 1, 0, 0]), jnp.asarray([1.0, 0, 1])
    y = F.conv1d(x[None, :, None], theta[:, None, None])
    np.testing.assert_array_equal(y[0, :, 0], [2, 1, 1])


def test_a_five_by_five_image():
    y = F.conv2d(
        image(
            [[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 0], [0, 1, 1, 0, 0]]
        ),
        kernel([[1, 0, 1], [0, 1, 0], [1, 0, 1]]),
    )
    np.testing.assert_array_equal(grid(y), [[4, 3, 4], [2, 4, 3], [2, 3, 4]])


def test_c_guiding_example():
    y = F.conv2d(
        image([[4, 5, 8, 7], [1, 8, 8, 8], [3, 6, 6, 4], [6, 5, 7, 8]]),
        kernel([[1, 4, 1], [1, 4, 3], [3, 3, 1]]),
    )
    np.testing.assert_array_equal(grid(y), [[122, 148], [126, 134]])


RED = [
    [156, 155, 156, 158, 158],
    [153, 154, 157, 159, 159],
    [149, 151, 155, 158, 159],
    [146, 146, 149, 153, 158],
    [145, 143, 143, 148, 158],
]
GREEN = [
    [167, 166, 167, 169, 169],
    [164, 165, 168, 170, 170],
    [160, 162, 166, 169, 170],
    [156, 156, 159, 163, 168],
    [155, 153, 153, 158, 168],
]
BLUE = [
    [163, 162, 163, 165, 165],
    [160, 161, 164, 166, 166],
    [156, 158, 162, 165, 166],
    [155, 155, 158, 162, 167],
    [154, 152, 152, 157, 167],
]
KERNELS = [
    [[-1, -1, 1], [0, 1, -1], [0, 1, 1]],
    [[1, 0, 0], [1, -1, -1], [1, 0, -1]],
    [[0, 1, 1], [0, 1, 0], [1, -1, 1]],
]


def test_a_colour_image_with_zero_padding_and_bias():
    """The slides show the top left corner; zeros lie above and to the left of it."""
    x = jnp.moveaxis(jnp.asarray([RED, GREEN, BLUE], jnp.float32), 0, -1)[None]
    w = jnp.moveaxis(jnp.asarray(KERNELS, jnp.float32), 0, -1)[..., None]
    y = F.conv2d(x, w, jnp.asarray([1.0]), padding=((1, 0), (1, 0)))
    np.testing.assert_array_equal(grid(y)[:2], [[-25, 466, 466, 475], [295, 787, 798, 812]])
    parts = F.depthwise_conv(x, jnp.moveaxis(w, 2, 3), padding=((1, 0), (1, 0)))
    np.testing.assert_array_equal(parts[0, 0, 0], [308, -498, 164])  # the slide's three sums


@pytest.mark.parametrize(
    ("size", "window", "stride", "padding", "result"),
    [(7, 3, 1, 0, 5), (7, 3, 2, 0, 3), (7, 3, 3, 1, 3), (7, 3, 1, 1, 7), (32, 5, 1, 0, 28),
     (32, 5, 1, 2, 32), (227, 11, 4, 0, 55)],
)  # fmt: skip
def test_c_e_output_sizes(size, window, stride, padding, result):
    assert F.output_size(size, window, stride=stride, padding=padding) == result
    y = jax.eval_shape(
        lambda x, w: F.conv1d(x, w, stride=stride, padding=padding),
        jax.ShapeDtypeStruct((1, size, 1), jnp.float32),
        jax.ShapeDtypeStruct((window, 1, 1), jnp.float32),
    )
    assert y.shape == (1, result, 1)


def test_c_e_a_stride_that_does_not_fit():
    with pytest.raises(ShapeError, match=r"= 2\.33 is not a whole number"):
        F.output_size(7, 3, stride=3)
    assert F.output_size(7, 3, stride=3, rounding="floor") == 2


def test_c_e_parameters_of_ten_filters():
    with_bias = jaxcnn.ledger(nn.Conv(10, 5, padding=2), (32, 32, 3)).rows[0]
    assert (with_bias.params, with_bias.output) == (760, (32, 32, 10))
    assert jaxcnn.ledger(nn.Conv(10, 5, padding=2, bias=False), (32, 32, 3)).params == 750


def test_e_pointwise_convolution():
    """56x56x64 with 32 filters of 1x1; 5x5x64 filters would be 1600-dimensional."""
    row = jaxcnn.ledger(nn.Conv(32, 1, bias=False), (56, 56, 64)).rows[0]
    assert (row.output, row.params, row.macs) == ((56, 56, 32), 64 * 32, 56 * 56 * 64 * 32)
    assert jaxcnn.ledger(nn.Conv(1, 5, bias=False), (56, 56, 64)).params == 1600


def test_c_multiply_adds_of_light_convolutions():
    shape, features = (32, 32, 16), 64
    dense = jaxcnn.ledger(nn.Conv(features, 3, padding=1), shape)
    light = jaxcnn.ledger(nn.separable_conv(features, 3, padding=1), shape)
    assert dense.macs == 32 * 32 * 9 * 16 * 64 == 9_437_184
    assert [row.macs for row in light.rows] == [32 * 32 * 9 * 16, 32 * 32 * 16 * 64]
    assert light.macs / dense.macs == 1 / features + 1 / 9


def test_b_locally_connected_image_of_200_by_200():
    """400,000 hidden units: fully connected 16e9 weights, with 10x10 fields 40e6."""
    full = nn.chain(flatten=nn.Flatten(), dense=nn.Dense(400_000, bias=False))
    local = nn.LocallyConnected(10, 10, padding="SAME", bias=False)
    assert jaxcnn.ledger(full, (200, 200, 1)).params == 16e9
    row = jaxcnn.ledger(local, (200, 200, 1)).rows[0]
    assert row.params == row.macs == 40e6
    assert np.prod(row.output) == 400_000


@pytest.mark.parametrize("n", [3, 5, 8])
def test_b_convolution_as_a_matrix_counts(n):
    """Width 3: dense n^2, local 3n - 2, shared 3."""
    matrix = np.asarray(F.toeplitz(jnp.asarray([7.0, 8, 9])[:, None, None], n, padding=1))
    assert matrix.size == n**2
    assert np.count_nonzero(matrix) == 3 * n - 2
    assert len(np.unique(matrix[matrix != 0])) == 3
    dense = nn.Dense(n, bias=False)
    assert jaxcnn.ledger(dense, (n,)).params == n**2
    shared = nn.Conv(1, 3, padding=1, bias=False)
    assert jaxcnn.ledger(shared, (n, 1)).params == 3
    local = nn.LocallyConnected(1, 3, padding=1, bias=False)
    # The layer also holds the two weights that only ever see padding.
    assert jaxcnn.ledger(local, (n, 1)).params - 2 == 3 * n - 2


def test_e_max_pooling():
    y = F.max_pool(image([[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]]))
    np.testing.assert_array_equal(grid(y), [[6, 8], [3, 4]])


def test_d_max_average_and_sum_pooling():
    x = image([[12, 20, 30, 0], [8, 12, 2, 0], [34, 70, 37, 4], [112, 100, 25, 12]])
    np.testing.assert_array_equal(grid(F.max_pool(x)), [[20, 30], [112, 37]])
    np.testing.assert_array_equal(grid(F.avg_pool(x)), [[13, 8], [79, 19.5]])
    np.testing.assert_array_equal(grid(F.sum_pool(x)), [[52, 32], [316, 78]])


EXAMPLE = [
    [0.5, -0.1, 0.2, 0.3, 0.5],
    [0.8, 0.1, -0.5, 0.5, 0.1],
    [-1.0, 0.2, 0.0, 0.3, -0.2],
    [0.7, 0.1, 0.2, -0.6, 0.3],
    [-0.4, 0.0, 0.2, 0.3, -0.3],
]
WEIGHTS = [[0, 1, 1], [1, 0, 1], [1, 1, 0]]


def test_c_worked_example_1_valid():
    u = F.conv2d(image(EXAMPLE), kernel(WEIGHTS), jnp.asarray([0.05]))
    np.testing.assert_allclose(
        grid(u), [[-0.35, 1.35, 0.75], [-0.55, 0.85, 0.05], [0.75, 0.05, 1.15]], atol=1e-6
    )
    y = F.sigmoid(u)
    np.testing.assert_allclose(
        grid(y),
        [[0.413, 0.794, 0.679], [0.366, 0.701, 0.512], [0.679, 0.512, 0.76]],
        atol=5e-4,
    )
    pooled = F.max_pool(y, 2, rounding="floor")
    np.testing.assert_allclose(grid(pooled), [[0.794]], atol=5e-4)


def test_c_worked_example_1_same():
    """The slides set the task without printing the result; these rows are the formula's."""
    u = F.conv2d(image(EXAMPLE), kernel(WEIGHTS), jnp.asarray([0.05]), padding="SAME")
    np.testing.assert_allclose(
        grid(u),
        [
            [0.75, 1.65, -0.15, 0.75, 0.95],
            [-0.45, -0.35, 1.35, 0.75, 1.15],
            [1.85, -0.55, 0.85, 0.05, 0.15],
            [-1.05, 0.75, 0.05, 1.15, -0.75],
            [0.85, 0.15, -0.05, -0.35, 0.65],
        ],
        atol=1e-6,
    )
    expected = reference.conv(
        np.asarray(EXAMPLE)[None, :, :, None], np.asarray(WEIGHTS)[:, :, None, None], 0.05,
        stride=(1, 1), pads=((1, 1), (1, 1)), dilation=(1, 1), groups=1,
    )  # fmt: skip
    np.testing.assert_allclose(u, expected, atol=1e-6)
    pooled = F.max_pool(F.sigmoid(u), 2, rounding="floor")
    np.testing.assert_allclose(grid(pooled), [[0.839, 0.794], [0.864, 0.76]], atol=5e-4)


def test_d_convolution_and_cross_correlation_differ_by_a_flip():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 7)), jnp.float32)
    w = jnp.asarray(np.random.default_rng(1).normal(size=(3, 2)), jnp.float32)
    signal = pytest.importorskip("scipy.signal")
    true = F.true_conv(x[None, :, :, None], w[:, :, None, None])
    np.testing.assert_allclose(grid(true), signal.convolve2d(x, w, mode="valid"), atol=1e-5)
    cross = F.cross_correlation(x[None, :, :, None], w[:, :, None, None])
    np.testing.assert_allclose(grid(cross), signal.correlate2d(x, w, mode="valid"), atol=1e-5)
    assert F.cross_correlation is F.conv


def test_c_maxout_is_the_larger_of_two_maps():
    x, w, b = (np.random.default_rng(i).normal(size=s) for i, s in enumerate([(5,), (5, 2), (2,)]))
    y = F.maxout(jnp.float32(x)[None], jnp.float32(w), jnp.float32(b), pieces=2)
    np.testing.assert_allclose(y[0, 0], max(w[:, 0] @ x + b[0], w[:, 1] @ x + b[1]), rtol=1e-5)


def test_b_c_hand_made_filters():
    named = F.filters.NAMED
    expected = {
        "edges_diagonal": [[1, 0, -1], [0, 0, 0], [-1, 0, 1]],
        "edges_cross": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
        "edges_all": [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]],
        "sharpen": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
        "box_blur": np.ones((3, 3)) / 9,
        "gaussian_blur": np.asarray([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16,
        "sobel_x": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
        "sobel_y": [[1, 2, 1], [0, 0, 0], [-1, -2, -1]],
        "smoothing": [[3, 4, 3], [4, 5, 4], [3, 4, 3]],
    }
    assert list(named) == list(expected)
    for name, matrix in expected.items():
        np.testing.assert_allclose(named[name], matrix, rtol=1e-6)
    sums = {name: round(float(matrix.sum()), 5) for name, matrix in named.items()}
    assert sums == {  # edges see nothing in a flat image, blurs keep it
        "edges_diagonal": 0, "edges_cross": 0, "edges_all": 0, "sharpen": 1, "box_blur": 1,
        "gaussian_blur": 1, "sobel_x": 0, "sobel_y": 0, "smoothing": 33,
    }  # fmt: skip


def test_c_example_2_maps_and_directions():
    """28x28 to three maps of 26x26, pooled to 13x13; w1 answers to brightness to the right."""
    bank = F.filters.bank(F.filters.SOBEL_X, F.filters.SOBEL_Y, F.filters.SMOOTHING)
    x = jnp.broadcast_to(jnp.arange(28.0)[None, :], (28, 28))[None, :, :, None]
    maps = F.conv2d(x, bank)
    assert maps.shape == (1, 26, 26, 3)
    assert F.max_pool(maps).shape == (1, 13, 13, 3)
    np.testing.assert_array_equal(maps[..., 0], np.full((1, 26, 26), 8.0))
    np.testing.assert_array_equal(maps[..., 1], np.zeros((1, 26, 26)))


def test_filters_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        F.filters.SHARPEN[0, 0] = 1


def test_d_gabor_function():
    y = F.filters.gabor(
        7,
        angle=0.4,
        frequency=1.3,
        phase=0.7,
        beta_x=0.05,
        beta_y=0.2,
        amplitude=2.0,
        x0=0.5,
        y0=-1,
    )
    for row, column in reference.cells(7, 7):
        dx, dy = column - 3 - 0.5, row - 3 + 1.0
        along = dx * np.cos(0.4) + dy * np.sin(0.4)
        across = -dx * np.sin(0.4) + dy * np.cos(0.4)
        value = 2 * np.exp(-0.05 * along**2 - 0.2 * across**2) * np.cos(1.3 * along + 0.7)
        np.testing.assert_allclose(y[row, column], value, atol=1e-6)


def test_d_gabor_answers_to_its_own_stripes():
    even = F.filters.gabor(9, frequency=1.5, beta_x=0.1, beta_y=0.1)
    across = F.filters.gabor(9, frequency=1.5, beta_x=0.1, beta_y=0.1, angle=np.pi / 2)
    np.testing.assert_allclose(across, even.T, atol=1e-5)
    assert float(jnp.sum(even * even)) > 5 * abs(float(jnp.sum(even * across)))


def test_b_vision_transformer_of_the_paper():
    """ViT-Ti/16 on 224x224: 5,717,416 parameters with a head of 1000 classes."""
    blocks = {
        f"block{i}": nn.encoder_block(192, heads=3, hidden=768, rate=0.1) for i in range(1, 13)
    }
    model = nn.chain(
        embed=nn.PatchEmbedding(192, 16), cls=nn.ClassToken(), position=nn.PositionEmbedding(),
        **blocks, norm=nn.LayerNorm(), take=nn.first_token, head=nn.Dense(1000),
    )  # fmt: skip
    table = jaxcnn.ledger(model, (224, 224, 3))
    assert table.params == 5_717_416
    tokens, width = 197, 192
    attention = 4 * tokens * width**2 + 2 * tokens**2 * width
    mlp = 2 * tokens * width * 768
    assert table.macs == 196 * 768 * width + 12 * (attention + mlp) + width * 1000
