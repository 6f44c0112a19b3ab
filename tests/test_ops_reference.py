"""Operations against loops over the formulas in float64, forward and gradient.

The draws are few in the fast tests and 100 in the slow ones.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxcnn import functional as F
from tests import reference

FEW = settings(
    max_examples=4,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
MANY = settings(FEW, max_examples=100)


def checked(body, strategy):
    """The test of `body` over a few draws, and the slow one over many."""

    def fast(case):
        body(case)

    def slow(case):
        body(case)

    return FEW(given(strategy)(fast)), pytest.mark.slow(MANY(given(strategy)(slow)))


def drawn(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


def values_and_gradients(function, arguments, g):
    """Output and gradients of sum(g * output) of a JAX function, in float64."""

    @jax.jit  # one program to compile instead of one for every operation in it
    def run(g, *arguments):
        y, back = jax.vjp(function, *arguments)
        return y, back(g)

    with jax.enable_x64(True):
        return run(*(jnp.asarray(a) for a in (g, *arguments)))


def assert_close(got, expected, tolerance=1e-10):
    for one, other in zip(got, expected, strict=True):
        assert one.shape == other.shape
        assert one.dtype == np.float64
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@st.composite
def windows(draw, *, dilation=True, grouped=True, ranks=(1, 2, 3)):
    """Sizes of a convolution that fits, exactly or with a rest."""
    rank = draw(st.sampled_from(ranks))
    largest, widest, border = {1: (9, 3, 2), 2: (5, 3, 1), 3: (3, 2, 1)}[rank]
    window = draw(st.tuples(*[st.integers(1, widest)] * rank))
    stride = draw(st.tuples(*[st.integers(1, 3)] * rank))
    gaps = draw(st.tuples(*[st.integers(1, 2)] * rank)) if dilation else (1,) * rank
    sides = st.tuples(st.integers(0, border), st.integers(0, border))
    pads = tuple(draw(st.tuples(*[sides] * rank)))
    space = tuple(
        draw(st.integers(max(1, d * (f - 1) + 1 - low - high), largest))
        for f, d, (low, high) in zip(window, gaps, pads, strict=True)
    )
    groups = draw(st.integers(1, 3)) if grouped else 1
    return {
        "space": space, "window": window, "stride": stride, "dilation": gaps, "pads": pads,
        "groups": groups, "inner": draw(st.integers(1, 2)), "outer": draw(st.integers(1, 2)),
        "batch": draw(st.integers(1, 2)), "seed": draw(st.integers(0, 99)),
    }  # fmt: skip


def geometry(case, *names):
    return {name: case[name] for name in names}


def check_conv(case):
    groups = case["groups"]
    x, kernel, bias = drawn(
        case["seed"],
        (case["batch"], *case["space"], case["inner"] * groups),
        (*case["window"], case["inner"], case["outer"] * groups),
        (case["outer"] * groups,),
    )
    sizes = geometry(case, "stride", "pads", "dilation", "groups")
    expected = reference.conv(x, kernel, bias, **sizes)
    (g,) = drawn(case["seed"] + 1, expected.shape)

    def function(x, kernel, bias):
        return F.conv(
            x, kernel, bias, padding=case["pads"], rounding="floor",
            **geometry(case, "stride", "dilation", "groups"),
        )  # fmt: skip

    y, slopes = values_and_gradients(function, (x, kernel, bias), g)
    assert_close([y, *slopes], [expected, *reference.conv_gradients(x, kernel, g, **sizes)])


test_conv, test_conv_many = checked(check_conv, windows())


def check_conv_transpose(case):
    """Against the loops, and as the adjoint: <conv(u), x> = <u, conv_transpose(x)>."""
    groups, stride = case["groups"], case["stride"]
    u, kernel, bias = drawn(
        case["seed"],
        (case["batch"], *case["space"], case["inner"] * groups),
        (*case["window"], case["inner"], case["outer"] * groups),
        (case["inner"] * groups,),
    )
    sizes = geometry(case, "stride", "pads", "dilation", "groups")
    forward = reference.conv(u, kernel, 0.0, **sizes)
    (x,) = drawn(case["seed"] + 1, forward.shape)
    (g,) = drawn(case["seed"] + 2, u.shape)
    expected = reference.conv_transpose(x, kernel, bias, size=case["space"], **sizes)
    np.testing.assert_allclose(np.sum(forward * x), np.sum(u * (expected - bias)), rtol=1e-9)

    def function(x, kernel, bias):
        return F.conv_transpose(
            x, kernel, bias, stride=stride, padding=case["pads"], dilation=case["dilation"],
            groups=groups, size=case["space"],
        )  # fmt: skip

    y, slopes = values_and_gradients(function, (x, kernel, bias), g)
    # Its adjoint is the convolution; with respect to the kernel, u and g change places.
    dx = reference.conv(g, kernel, 0.0, **sizes)
    _, dk, _ = reference.conv_gradients(g, kernel, x, **sizes)
    assert_close([y, *slopes], [expected, dx, dk, g.sum(axis=tuple(range(g.ndim - 1)))])


test_conv_transpose, test_conv_transpose_many = checked(check_conv_transpose, windows())


@pytest.mark.parametrize("mode", ["zeros", "reflect", "edge"])
@pytest.mark.parametrize("shape", [(2, 5, 3), (1, 4, 3, 2), (1, 3, 4, 3, 1)])
def test_padding_modes_against_numpy(mode, shape):
    """Convolving the padded input is padding while convolving, forward and gradient."""
    rank = len(shape) - 2
    pads = [(2, 1), (0, 2), (1, 0)][:rank]
    x, kernel = drawn(0, shape, (*(2,) * rank, shape[-1], 2))
    numpy_mode = {"zeros": "constant"}.get(mode, mode)

    def padded(x):
        return np.pad(x, ((0, 0), *pads, (0, 0)), mode=numpy_mode)

    sizes = {"stride": (1,) * rank, "pads": ((0, 0),) * rank, "dilation": (1,) * rank, "groups": 1}
    expected = reference.conv(padded(x), kernel, 0.0, **sizes)
    (g,) = drawn(1, expected.shape)
    with jax.enable_x64(True):
        assert_close([F.pad(jnp.asarray(x), pads, mode=mode)], [padded(x)], 0)
    y, (dx, dk) = values_and_gradients(
        lambda x, k: F.conv(x, k, padding=tuple(pads), padding_mode=mode), (x, kernel), g
    )
    dp, dk_expected, _ = reference.conv_gradients(padded(x), kernel, g, **sizes)
    # Every padded cell is a copy of one cell: its slope goes there.
    source = padded(np.arange(1, x.size + 1).reshape(x.shape))
    dx_expected = np.bincount(source.ravel(), dp.ravel(), x.size + 1)[1:].reshape(x.shape)
    assert_close([y, dx, dk], [expected, dx_expected, dk_expected])


def test_same_padding_with_a_mode():
    (x,) = drawn(0, (1, 6, 5, 1))
    with jax.enable_x64(True):
        y = F.conv(
            jnp.asarray(x), jnp.ones((3, 3, 1, 1)), stride=2, padding="SAME", padding_mode="edge"
        )
    sizes = {"stride": (2, 2), "pads": ((0, 0),) * 2, "dilation": (1, 1), "groups": 1}
    padded = np.pad(x, ((0, 0), (0, 1), (1, 1), (0, 0)), mode="edge")
    assert_close([y], [reference.conv(padded, np.ones((3, 3, 1, 1)), 0.0, **sizes)])


def check_depthwise(case):
    """Depthwise is convolution with as many groups as channels; separable adds a mixture."""
    channels, outer = case["inner"] + 1, case["outer"]
    rank = len(case["space"])
    x, kernel, mix, bias = drawn(
        case["seed"],
        (case["batch"], *case["space"], channels),
        (*case["window"], 1, channels * outer),
        (*(1,) * rank, channels * outer, 3),
        (3,),
    )
    sizes = {"padding": case["pads"], "rounding": "floor", **geometry(case, "stride", "dilation")}
    loops = {**geometry(case, "stride", "pads", "dilation"), "groups": channels}
    inner = reference.conv(x, kernel, 0.0, **loops)
    expected = np.einsum("...c,co->...o", inner, mix.reshape(channels * outer, 3)) + bias
    (g,) = drawn(case["seed"] + 1, expected.shape)
    y, slopes = values_and_gradients(
        lambda *a: F.separable_conv(*a, **sizes), (x, kernel, mix, bias), g
    )
    d_inner = np.einsum("...o,co->...c", g, mix.reshape(channels * outer, 3))
    dx, dk, _ = reference.conv_gradients(x, kernel, d_inner, **loops)
    d_mix = (inner.reshape(-1, channels * outer).T @ g.reshape(-1, 3)).reshape(mix.shape)
    assert_close([y, *slopes], [expected, dx, dk, d_mix, g.sum(axis=tuple(range(g.ndim - 1)))])
    with jax.enable_x64(True):
        assert_close([F.depthwise_conv(jnp.asarray(x), jnp.asarray(kernel), **sizes)], [inner])


test_separable, test_separable_many = checked(check_depthwise, windows(grouped=False))


def check_locally_connected(case):
    sizes = geometry(case, "window", "stride", "pads", "dilation")
    out = reference.out_sizes(case["space"], *(sizes[k] for k in sizes))
    inputs = case["inner"] * math.prod(case["window"])
    x, kernel, bias = drawn(
        case["seed"],
        (case["batch"], *case["space"], case["inner"]),
        (*out, inputs, case["outer"]),
        (*out, case["outer"]),
    )

    def loops(x, kernel, bias):
        return reference.locally_connected(x, kernel, bias, **sizes)

    def function(x, kernel, bias):
        return F.locally_connected(
            x, kernel, bias, padding=case["pads"], rounding="floor",
            **geometry(case, "window", "stride", "dilation"),
        )  # fmt: skip

    expected = loops(x, kernel, bias)
    (g,) = drawn(case["seed"] + 1, expected.shape)
    y, (dx, dk, db) = values_and_gradients(function, (x, kernel, bias), g)
    assert_close([y, db], [expected, g.sum(axis=0)])
    dx, dk = np.asarray(dx), np.asarray(dk)
    # It is linear in each argument, so a slope times the argument is the value itself.
    for slope, argument in ((dx, x), (dk, kernel)):
        np.testing.assert_allclose(
            np.sum(slope * argument), np.sum(g * (expected - bias)), rtol=1e-9
        )
    moved = np.random.default_rng(0).normal(size=x.shape)
    np.testing.assert_allclose(
        np.sum(dx * moved), np.sum(g * (loops(moved, kernel, bias) - bias)), rtol=1e-9
    )
    moved = np.random.default_rng(0).normal(size=kernel.shape)
    np.testing.assert_allclose(
        np.sum(dk * moved), np.sum(g * (loops(x, moved, bias) - bias)), rtol=1e-9
    )


test_locally_connected, test_locally_connected_many = checked(
    check_locally_connected, windows(grouped=False, ranks=(1, 2))
)


@pytest.mark.parametrize("kind", ["max", "avg", "sum"])
@pytest.mark.parametrize(
    ("space", "window", "stride", "pads"),
    [((6,), (2,), (2,), ((0, 0),)), ((7, 5), (3, 3), (2, 2), ((0, 0), (0, 0))),
     ((5, 4), (3, 2), (1, 2), ((1, 1), (0, 1))), ((3, 4, 3), (2, 2, 1), (1, 2, 1), ((0, 0),) * 3)],
)  # fmt: skip
def test_pooling(kind, space, window, stride, pads):
    """Overlapping windows (3, stride 2) and padding included."""
    (x,) = drawn(3, (2, *space, 2))
    function = {"max": F.max_pool, "avg": F.avg_pool, "sum": F.sum_pool}[kind]
    check_against_differences(
        lambda x: function(x, window, stride=stride, padding=pads, rounding="floor"),
        lambda x: reference.pool(x, kind, window=window, stride=stride, pads=pads),
        [x],
    )


def check_against_differences(function, loops, arguments):
    expected = loops(*arguments)
    (g,) = drawn(9, expected.shape)
    y, slopes = values_and_gradients(function, arguments, g)
    assert_close([y], [expected])
    assert_close(slopes, reference.gradients(loops, arguments, g), 1e-7)


@st.composite
def feature_shapes(draw):
    groups, per = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    space = draw(st.lists(st.integers(1, 3), min_size=1, max_size=2))
    return {
        "shape": (draw(st.integers(1, 2)), *space, groups * per),
        "groups": groups, "seed": draw(st.integers(0, 99)),
    }  # fmt: skip


def check_norms(case):
    x, scale, bias = drawn(case["seed"], case["shape"], case["shape"][-1:], case["shape"][-1:])
    x = 3 * x + 5
    # Where a group has one value, that value is its mean and the slope 1 / sqrt(epsilon).
    epsilon = 1e-2
    check_against_differences(
        lambda *a: F.layer_norm(*a, epsilon=epsilon),
        lambda *a: reference.layer_norm(*a, epsilon),
        [x, scale, bias],
    )
    check_against_differences(
        lambda *a: F.group_norm(*a, groups=case["groups"], epsilon=epsilon),
        lambda *a: reference.group_norm(*a, case["groups"], epsilon),
        [x, scale, bias],
    )
    window = 2 * (case["seed"] % 3) + 1
    check_against_differences(
        lambda x: F.local_response_norm(x, window=window, k=1.5, alpha=0.3, beta=0.6),
        lambda x: reference.local_response_norm(x, window, 1.5, 0.3, 0.6),
        [x],
    )


test_norms, test_norms_many = checked(check_norms, feature_shapes())


def check_channel_maxima(case):
    pieces = case["groups"]
    x, kernel, bias = drawn(
        case["seed"], (2, case["shape"][-1]), (case["shape"][-1], 2 * pieces), (2 * pieces,)
    )
    check_against_differences(
        lambda *a: F.maxout(*a, pieces=pieces),
        lambda *a: reference.maxout(*a, pieces),
        [x, kernel, bias],
    )
    (x,) = drawn(case["seed"], case["shape"])
    check_against_differences(
        lambda x: F.channel_pool(x, pieces), lambda x: reference.channel_pool(x, pieces), [x]
    )
    space = tuple(range(1, len(case["shape"]) - 1))
    check_against_differences(F.global_avg_pool, lambda x: x.mean(axis=space), [x])
    check_against_differences(F.global_max_pool, lambda x: x.max(axis=space), [x])


test_channel_maxima, test_channel_maxima_many = checked(check_channel_maxima, feature_shapes())


@st.composite
def heads(draw):
    small = st.integers(1, 3)
    return [draw(small) for _ in range(6)], draw(st.integers(0, 99))


def check_attention(case):
    (n, q, k, h, d, e), seed = case
    check_against_differences(
        F.attention, reference.attention, drawn(seed, (n, q, h, d), (n, k, h, d), (n, k, h, e))
    )


test_attention, test_attention_many = checked(check_attention, heads())


def check_toeplitz(case):
    """Multiplying by the matrix is convolving, and its slope is the convolution's."""
    x, kernel = drawn(
        case["seed"],
        (case["batch"], *case["space"], case["inner"]),
        (*case["window"], case["inner"], case["outer"]),
    )
    loops = {**geometry(case, "stride", "pads", "dilation"), "groups": 1}
    expected = reference.conv(x, kernel, 0.0, **loops)
    (g,) = drawn(case["seed"] + 1, expected.shape)

    def function(x, kernel):
        matrix = F.toeplitz(
            kernel, case["space"], padding=case["pads"], rounding="floor",
            **geometry(case, "stride", "dilation"),
        )  # fmt: skip
        return (F.flatten(x) @ matrix.T).reshape(expected.shape)

    y, slopes = values_and_gradients(function, (x, kernel), g)
    assert_close([y, *slopes], [expected, *reference.conv_gradients(x, kernel, g, **loops)[:2]])


test_toeplitz, test_toeplitz_many = checked(check_toeplitz, windows(grouped=False, ranks=(1, 2)))


def test_gelu():
    x = np.linspace(-4, 4, 41)
    exact = np.asarray([v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x])
    np.testing.assert_allclose(F.gelu(jnp.float32(x)), exact, atol=1e-6)
