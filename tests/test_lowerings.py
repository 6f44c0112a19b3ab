"""Every lowering of convolution and pooling against XLA's own operation and its gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from jax.sharding import PartitionSpec as P

import jaxcnn
from jaxcnn import functional as F
from jaxcnn import models
from tests.test_ops_reference import checked

TOLERANCE = {jnp.float32: 1e-5, jnp.float64: 1e-12}


def relative(one, other):
    """Largest difference over the largest entry."""
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    assert one.shape == other.shape
    return np.abs(one - other).max(initial=0) / max(np.abs(other).max(initial=0), 1e-30)


def assert_same(function, reference, arguments, dtype):
    """Outputs and gradients of two functions of the same arrays."""
    with jax.enable_x64(dtype is jnp.float64):
        arguments = [jnp.asarray(a, dtype) for a in arguments]

        def run(function, *arguments):
            y, back = jax.vjp(function, *arguments)
            g = jnp.asarray(np.random.default_rng(7).normal(size=y.shape), dtype)
            return y, *back(g)

        got = jax.jit(lambda *a: run(function, *a))(*arguments)
        wanted = jax.jit(lambda *a: run(reference, *a))(*arguments)
    for one, other in zip(got, wanted, strict=True):
        assert one.dtype == other.dtype == dtype
        assert relative(one, other) < TOLERANCE[dtype]


def arrays(case, channels, features):
    rng = np.random.default_rng(case["seed"])
    kernel = (*case["window"], channels // case.get("groups", 1), features)
    made = [rng.normal(size=s) for s in ((case["n"], *case["size"], channels), kernel, (features,))]
    # Whole numbers make ties, and products of them are exact.
    return [np.round(a) for a in made] if case["ties"] else made


pair = st.tuples(st.integers(0, 2), st.integers(0, 2))
convolutions = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 999),
        "dtype": st.sampled_from([jnp.float32, jnp.float64]),
        "n": st.integers(1, 3),
        "size": st.tuples(st.integers(5, 9), st.integers(5, 9)),
        "window": st.tuples(st.integers(1, 4), st.integers(1, 4)),
        "stride": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "dilation": st.integers(1, 2),
        "groups": st.sampled_from([1, 1, 2]),
        "padding": st.one_of(st.sampled_from(["VALID", "SAME"]), st.tuples(pair, pair)),
        "ties": st.booleans(),
    }
)


def fitting_dilation(case):
    """The drawn dilation, or 1 where the window would be larger than the image."""
    extents = [case["dilation"] * (w - 1) for w in case["window"]]
    return (
        1 if any(e >= s for e, s in zip(extents, case["size"], strict=True)) else case["dilation"]
    )


def check_canonical(case):
    case = dict(case, dilation=fitting_dilation(case))

    def conv(impl):
        return lambda x, k, b: F.conv2d(
            x, k, b, stride=case["stride"], padding=case["padding"], dilation=case["dilation"],
            groups=case["groups"], rounding="floor", impl=impl,
        )  # fmt: skip

    assert_same(conv("canonical"), conv("xla"), arrays(case, 4, 6), case["dtype"])


def check_gemm(case):
    case = dict(case, groups=1)

    def conv(impl):
        return lambda x, k, b: F.conv2d(
            x, k, b, stride=case["stride"], padding=case["padding"], rounding="floor", impl=impl
        )

    assert_same(conv("gemm"), conv("xla"), arrays(case, 2, 5), case["dtype"])


def check_winograd(case):
    case = dict(case, window=(3, 3), groups=1)

    def conv(impl):
        return lambda x, k, b: F.conv2d(x, k, b, padding=case["padding"], impl=impl)

    assert_same(conv("winograd"), conv("xla"), arrays(case, 3, 4), case["dtype"])


def check_pointwise(case):
    case = dict(case, window=(1, 1), groups=1)

    def conv(impl):
        return lambda x, k, b: F.conv2d(x, k, b, stride=case["stride"], rounding="floor", impl=impl)

    assert_same(conv("pointwise"), conv("xla"), arrays(case, 3, 4), case["dtype"])


def check_depthwise(case):
    case = dict(case, groups=5, dilation=fitting_dilation(case))

    def conv(impl):
        return lambda x, k, b: F.conv2d(
            x, k, b, stride=case["stride"], padding=case["padding"], dilation=case["dilation"],
            groups=5, rounding="floor", impl=impl,
        )  # fmt: skip

    assert_same(conv("depthwise"), conv("xla"), arrays(case, 5, 5), case["dtype"])


def even_pads(case):
    """Padding that leaves even sizes: one more cell where the window leaves an odd number."""
    pads = case["padding"]
    if not isinstance(pads, tuple):
        pads = ((1, 1), (1, 1))
    return tuple(
        (low, high + (size + low + high - w + 1) % 2)
        for (low, high), size, w in zip(pads, case["size"], case["window"], strict=True)
    )


def check_fused(case):
    case, pads = dict(case, groups=1), even_pads(case)

    def run(impl):
        return lambda x, k, b: F.conv_relu_pool(x, k, b, padding=pads, impl=impl)

    for impl in ("canonical", "gemm", "block"):
        assert_same(run(impl), run("xla"), arrays(case, 2, 3), case["dtype"])


def check_act(case):
    case, pads = dict(case, groups=1), even_pads(case)

    def run(pool, impl):
        return lambda x, k, b: F.conv_act_pool(x, k, b, jnp.tanh, pool, padding=pads, impl=impl)

    for pool in ("max", "avg"):
        assert_same(run(pool, "gemm"), run(pool, "xla"), arrays(case, 2, 3), case["dtype"])


def check_pool(case):
    images = np.random.default_rng(case["seed"]).normal(size=(case["n"], *case["size"], 3))
    images = np.round(images) if case["ties"] else images
    window = tuple(min(w, 3) for w in case["window"])
    padding = case["padding"]
    if isinstance(padding, tuple):  # at least one cell of every window lies in the image
        padding = tuple(
            tuple(min(p, w - 1) for p in pads) for pads, w in zip(padding, window, strict=True)
        )

    def pool(impl):
        return lambda x: F.max_pool(
            x, window, stride=case["stride"], padding=padding, rounding="floor", impl=impl
        )

    assert_same(pool("mask"), pool("xla"), [images], case["dtype"])


test_canonical, test_canonical_many = checked(check_canonical, convolutions)
test_gemm, test_gemm_many = checked(check_gemm, convolutions)
test_winograd, test_winograd_many = checked(check_winograd, convolutions)
test_pointwise, test_pointwise_many = checked(check_pointwise, convolutions)
test_depthwise, test_depthwise_many = checked(check_depthwise, convolutions)
test_fused, test_fused_many = checked(check_fused, convolutions)
test_act, test_act_many = checked(check_act, convolutions)
test_pool, test_pool_many = checked(check_pool, convolutions)


@pytest.mark.parametrize("shape", [(2, 9, 3), (2, 4, 5, 4, 3)], ids=["1d", "3d"])
def test_canonical_in_other_ranks(shape, rng):
    window = (2,) * (len(shape) - 2)
    arguments = [rng.normal(size=shape), rng.normal(size=(*window, 3, 4)), rng.normal(size=4)]
    assert_same(
        lambda *a: F.conv(*a, padding=1, stride=2, rounding="floor", impl="canonical"),
        lambda *a: F.conv(*a, padding=1, stride=2, rounding="floor", impl="xla"),
        arguments,
        jnp.float64,
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_canonical_without_padding_on_many_cells(stride, dilation, dtype, rng):
    """300 cells a window: the column that is added and cut off again, in all three products."""
    arguments = [rng.normal(size=s) for s in ((3, 8, 9, 75), (2, 2, 75, 30), (30,))]

    def conv(impl):
        return lambda *a: F.conv2d(
            *a, stride=stride, dilation=dilation, rounding="floor", impl=impl
        )

    assert_same(conv("canonical"), conv("xla"), arguments, dtype)


@pytest.mark.parametrize("shape", [(2, 9, 3), (2, 4, 5, 4, 3)], ids=["1d", "3d"])
def test_depthwise_in_other_ranks_and_bfloat16(shape, rng):
    window = (2,) * (len(shape) - 2)

    def conv(impl):
        return lambda x, k: F.conv(x, k, padding=1, stride=2, groups=3, rounding="floor", impl=impl)

    arguments = [rng.normal(size=shape), rng.normal(size=(*window, 1, 3))]
    assert_same(conv("depthwise"), conv("xla"), arguments, jnp.float64)
    narrow = [jnp.asarray(a, jnp.bfloat16) for a in arguments]
    y = conv("depthwise")(*narrow)
    assert y.dtype == jnp.bfloat16  # summed in float32, rounded once
    exact = conv("xla")(*(a.astype(jnp.float32) for a in narrow))
    assert relative(y.astype(jnp.float32), exact) < 2**-8


def test_pointwise_in_other_ranks_and_maps(rng):
    kernel = rng.normal(size=(1, 3, 4))
    x = rng.normal(size=(2, 9, 3))

    def conv(impl):
        return lambda x, k: F.conv(x, k, stride=2, rounding="floor", impl=impl)

    assert_same(conv("pointwise"), conv("xla"), [x, kernel], jnp.float64)
    kernels = jnp.asarray(rng.normal(size=(4, 1, 3, 4)), jnp.float32)
    x = jnp.asarray(x, jnp.float32)
    wanted = jax.vmap(lambda k: conv("xla")(x, k))(kernels)
    assert relative(jax.vmap(lambda k: conv("pointwise")(x, k))(kernels), wanted) < 1e-5
    assert conv("pointwise")(x[:0], kernels[0]).shape == (0, 5, 4)


def test_a_nan_comes_through(rng):
    x = jnp.asarray(rng.normal(size=(1, 6, 6, 2)), jnp.float32).at[0, 3, 3, 1].set(jnp.nan)
    for impl in ("xla", "mask"):
        assert jnp.isnan(F.max_pool(x, 2, impl=impl)).sum() == 1
        assert jnp.isnan(jax.vjp(lambda x, i=impl: F.max_pool(x, 2, impl=i), x)[0]).sum() == 1
    kernel = jnp.ones((1, 1, 2, 3))
    for impl in ("xla", "canonical", "gemm", "block"):
        assert jnp.isnan(F.conv_relu_pool(x, kernel, impl=impl)).sum() == 3, impl


@pytest.mark.parametrize(
    ("impl", "shape", "groups"),
    [
        ("canonical", (3, 3, 2, 4), 1),
        ("gemm", (3, 3, 2, 4), 1),
        ("winograd", (3, 3, 2, 4), 1),
        ("pointwise", (1, 1, 2, 4), 1),
        ("depthwise", (3, 3, 1, 2), 2),
    ],
)
def test_second_derivatives(impl, shape, groups, rng):
    x = jnp.asarray(rng.normal(size=(2, 6, 6, 2)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=shape), jnp.float32)

    def curvature(impl):
        def objective(both):
            return jnp.sum(F.conv2d(*both, groups=groups, impl=impl) ** 3)

        def product(both):  # with the Hessian, by reverse mode
            return jax.tree.map(jnp.vdot, jax.grad(objective)(both), both)

        both = (x, kernel)
        forward = jax.jvp(jax.grad(objective), (both,), (both,))[1]
        return forward, jax.grad(lambda both: sum(product(both)))(both)

    got, wanted = jax.jit(curvature, static_argnums=0)(impl), curvature("xla")
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        assert relative(one, other) < 1e-5


def test_forward_mode_needs_xla():
    model = models.lenet5()
    params, state = jaxcnn.init(model, jax.random.key(0), (28, 28, 1))
    x = jnp.ones((1, 28, 28, 1))

    def run(x):
        return jaxcnn.apply(model, params, state, x)[0]

    with F.lowering("xla"):
        _, tangent = jax.jvp(run, (x,), (x,))
    assert tangent.shape == (1, 10)
    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(run, (x,), (x,))


def test_maps_over_a_batch_of_kernels(rng):
    x = jnp.asarray(rng.normal(size=(2, 6, 6, 2)), jnp.float32)
    kernels = jnp.asarray(rng.normal(size=(4, 3, 3, 2, 3)), jnp.float32)
    wanted = jax.vmap(lambda k: F.conv2d(x, k, impl="xla"))(kernels)
    for impl in ("canonical", "gemm", "winograd"):
        got = jax.vmap(lambda k, i=impl: F.conv2d(x, k, impl=i))(kernels)
        assert relative(got, wanted) < 1e-5


@pytest.mark.parametrize("impl", ["xla", "canonical", "gemm", "winograd", "pointwise", "depthwise"])
def test_shard_map_sums_the_gradient_of_what_is_shared(impl, rng):
    x = jnp.asarray(rng.normal(size=(8, 6, 6, 2)), jnp.float32)
    window = (1, 1) if impl == "pointwise" else (3, 3)
    channels, groups = ((1, 2), 2) if impl == "depthwise" else ((2, 3), 1)
    kernel = jnp.asarray(rng.normal(size=(*window, *channels)), jnp.float32)

    def gradient(x, kernel):
        return jax.grad(lambda k: jnp.sum(F.conv2d(x, k, groups=groups, impl=impl) ** 2))(kernel)

    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.shard_map(gradient, mesh=mesh, in_specs=(P("data"), P()), out_specs=P())
    assert relative(jax.jit(split)(x, kernel), gradient(x, kernel)) < 1e-5
