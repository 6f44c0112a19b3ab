"""Looking inside at pixels and units: against closed forms and loops over NumPy float64 arrays."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import inspect, nn
from jaxcnn.errors import ConfigError, ShapeError
from tests import reference

CLOSE = {"rtol": 1e-4, "atol": 1e-6}


def made(model, shape, seed=0):
    """Random parameters (zeros or ones would hide a mistake), the state's shapes, and images."""
    rng = np.random.default_rng(seed)
    spec, state = jax.eval_shape(lambda key: jaxcnn.init(model, key, shape), jax.random.key(0))
    params = jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.5, x.shape), x.dtype), spec)
    return params, state, jnp.asarray(rng.uniform(size=(3, *shape)), jnp.float32)


def double(x):
    return np.asarray(x, np.float64)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def linear(shape=(4, 6, 2), classes=3):
    model = nn.chain(flat=nn.Flatten(), fc=nn.Dense(classes))
    params, state, images = made(model, shape)
    return model, params, state, images, double(params["fc"]["kernel"])


def conv_of(x, layer, **options):
    settings = {"stride": (1, 1), "pads": [(0, 0)] * 2, "dilation": (1, 1), "groups": 1, **options}
    return reference.conv(double(x), double(layer["kernel"]), double(layer["bias"]), **settings)


# Gradients of a class.


def test_saliency_of_a_linear_network_is_the_size_of_its_weights():
    model, params, state, images, kernel = linear()
    found = inspect.saliency(model, params, state, images, jnp.asarray([2, 0, 1]))
    for row, label in enumerate([2, 0, 1]):
        expected = np.abs(kernel[:, label]).reshape(4, 6, 2).max(-1)
        np.testing.assert_allclose(found[row], expected, **CLOSE)


def test_saliency_of_a_network_with_one_hidden_layer():
    """d logit / d x = W1 ((1 - tanh^2) * w2)"""
    model = nn.chain(flat=nn.Flatten(), fc1=nn.Dense(5), act=nn.tanh, fc2=nn.Dense(3))
    params, state, images = made(model, (2, 3, 2))
    w1, w2 = double(params["fc1"]["kernel"]), double(params["fc2"]["kernel"])
    hidden = np.tanh(double(images).reshape(3, -1) @ w1 + double(params["fc1"]["bias"]))
    gradient = ((1 - hidden**2) * w2[:, 1]) @ w1.T
    run = jax.jit(partial(inspect.saliency, model))
    found = run(params, state, images, 1)
    np.testing.assert_allclose(found, np.abs(gradient).reshape(3, 2, 3, 2).max(-1), **CLOSE)


@pytest.mark.parametrize("inner", [False, True], ids=["flat", "nested"])
def test_grad_cam_before_global_pooling_is_the_class_activation_map(inner):
    """logit_k = sum_c w_ck mean(A_c) + b, so a_c = w_ck / (h w)"""
    conv = nn.Conv(4, 3, padding="SAME")
    body = nn.chain(conv=conv) if inner else conv
    model = nn.chain(body=body, pool=nn.GlobalAvgPool(), fc=nn.Dense(3))
    params, state, images = made(model, (5, 4, 2))
    images = images - 0.5
    kernels = params["body"]["conv"] if inner else params["body"]
    maps = conv_of(images, kernels, pads=[(1, 1), (1, 1)])
    classes = np.asarray([0, 2, 1])
    weights = double(params["fc"]["kernel"])[:, classes].T / 20  # [N, c]
    expected = np.maximum(np.einsum("nhwc,nc->nhw", maps, weights), 0)
    path = "body/conv" if inner else "body"
    found = inspect.grad_cam(model, params, state, images, jnp.asarray(classes), path)
    assert (expected > 0).any()
    assert (expected == 0).any()
    np.testing.assert_allclose(found, expected, **CLOSE)


def test_grad_cam_is_resized_bilinearly():
    """Cell centres at (i + 1/2) / 2 - 1/2 of the coarse grid, cut off at its edges."""
    model = nn.chain(conv=nn.Conv(2, 2, stride=2), flat=nn.Flatten(), fc=nn.Dense(2))
    params, state, images = made(model, (6, 4, 1))
    maps = conv_of(images, params["conv"], stride=(2, 2))
    kernel = double(params["fc"]["kernel"]).reshape(3, 2, 2, 2)[..., 1]
    coarse = np.maximum(maps @ kernel.mean((0, 1)), 0)

    def along(x, axis, size):
        places = np.clip((np.arange(size) + 0.5) * x.shape[axis] / size - 0.5, 0, None)
        low = np.floor(places).astype(int)
        high = np.minimum(low + 1, x.shape[axis] - 1)
        part = (places - low).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
        return x.take(low, axis) * (1 - part) + x.take(high, axis) * part

    found = inspect.grad_cam(model, params, state, images, 1, "conv")
    np.testing.assert_allclose(found, along(along(coarse, 1, 6), 2, 4), **CLOSE)


def test_a_class_that_does_not_exist_gives_nan():
    model = nn.chain(conv=nn.Conv(2, 1), act=nn.relu, pool=nn.GlobalAvgPool(), fc=nn.Dense(3))
    params, state, images = made(model, (2, 2, 1))
    classes = jnp.asarray([0, 3, -1])
    for found in (
        inspect.saliency(model, params, state, images, classes),
        inspect.grad_cam(model, params, state, images, classes, "act"),
        inspect.occlusion(model, params, state, images, classes, window=1),
    ):
        assert np.isfinite(found[0]).all()
        assert np.isnan(found[1:]).all()


def test_errors_of_gradients():
    model, params, state, images, _ = linear()
    with pytest.raises(ConfigError, match=r"'conv9' is not a layer .*: use one of flat, fc"):
        inspect.grad_cam(model, params, state, images, 0, "conv9")
    with pytest.raises(ConfigError, match=r"is not a layer .*: wrap it, `nn.chain\(name=layer\)`"):
        inspect.grad_cam(nn.MaxPool(2), {}, {}, images, 0, "pool")
    with pytest.raises(ShapeError, match=r"'flat' gives float32\[3, 48\], expected a map"):
        inspect.grad_cam(model, params, state, images, 0, "flat")
    with pytest.raises(ShapeError, match=r"classes int32\[2\], expected logits \[N, K\]"):
        inspect.saliency(model, params, state, images, jnp.zeros(2, jnp.int32))
    with pytest.raises(ShapeError, match="expected a floating dtype"):
        inspect.saliency(model, params, state, np.zeros((1, 4, 6, 2), np.uint8), 0)


# Occlusion.


@pytest.mark.parametrize("fill", [None, 0.3, (0.1, 0.9)], ids=["mean", "number", "channels"])
def test_occlusion_is_the_drop_of_the_probability(fill):
    model, params, state, images, kernel = linear()
    given = jnp.asarray(fill) if isinstance(fill, tuple) else fill
    settings = {"window": (2, 3), "stride": (1, 3), "fill": given}
    found = inspect.occlusion(model, params, state, images, jnp.asarray([2, 0, 1]), **settings)
    assert found.shape == (3, 3, 2)
    x = double(images)

    def chance(image, label):
        return softmax(image.ravel() @ kernel + double(params["fc"]["bias"]))[label]

    for n, i, j in reference.cells(3, 3, 2):
        label = [2, 0, 1][n]
        covered = x[n].copy()
        covered[i : i + 2, 3 * j : 3 * j + 3] = x[n].mean((0, 1)) if fill is None else fill
        expected = chance(x[n], label) - chance(covered, label)
        np.testing.assert_allclose(found[n, i, j], expected, rtol=1e-3, atol=1e-6)


def test_occlusion_finds_the_corner_that_a_network_reads():
    model = nn.chain(flat=nn.Flatten(), fc=nn.Dense(2))
    kernel = jnp.zeros((16, 2)).at[15, 1].set(4.0)  # the last pixel speaks for class 1
    params = {"fc": {"kernel": kernel, "bias": jnp.zeros(2)}}
    images = jnp.zeros((1, 4, 4, 1)).at[0, 3, 3].set(1.0)
    found = inspect.occlusion(model, params, {}, images, 1, window=2)
    assert found[0, 1, 1] > 0.3
    assert np.count_nonzero(found) == 1


def test_errors_of_occlusion():
    model, params, state, images, _ = linear()
    run = partial(inspect.occlusion, model, params, state, images, 0)
    with pytest.raises(ShapeError, match="windows of 3 at a stride of 2 do not cover 4 cells"):
        run(window=3, stride=2)
    with pytest.raises(ShapeError, match="windows of 5 at a stride of 5 do not cover 4 cells"):
        run(window=5)
    with pytest.raises(ShapeError, match=r"fill float32\[3\], expected a number or one for each"):
        run(window=2, fill=jnp.zeros(3))
    with pytest.raises(ConfigError, match="window=0 is not allowed"):
        run(window=0)


# Excitation.


@pytest.mark.parametrize("layer", [None, "fc"])
def test_maximize_activation_follows_its_formula(layer):
    model, params, state, _, kernel = linear((4, 3, 2))
    key, rate, decay, blur = jax.random.key(5), 0.3, 0.2, 0.7
    found = inspect.maximize_activation(
        model, params, state, key, (4, 3, 2), layer=layer, channel=1, steps=5, rate=rate,
        decay=decay, blur=blur, blur_every=2, neutral=0.4, noise=0.3,
    )  # fmt: skip
    x = np.clip(0.4 + 0.3 * double(jax.random.normal(key, (1, 4, 3, 2))[0]), 0, 1)

    def value(x):
        return x.ravel() @ kernel[:, 1] + float(params["fc"]["bias"][1])

    def smooth(x):
        y = np.zeros_like(x)
        for i, j in reference.cells(4, 3):
            rows = np.exp(-((np.arange(4) - i) ** 2) / (2 * blur**2))
            columns = np.exp(-((np.arange(3) - j) ** 2) / (2 * blur**2))
            weights = np.outer(rows, columns)
            y[i, j] = np.einsum("hw,hwc->c", weights / weights.sum(), x)
        return y

    g = kernel[:, 1].reshape(4, 3, 2)
    before = value(x)
    for step in range(1, 6):
        x = x + rate * (g / np.sqrt((g**2).mean()) - decay * (x - 0.4))
        x = np.clip(smooth(x) if step % 2 == 0 else x, 0, 1)
    assert (x == 1).any()
    np.testing.assert_allclose(found.image, x, **CLOSE)
    np.testing.assert_allclose([found.before, found.after], [before, value(x)], rtol=1e-4)


def test_an_excited_convolution_is_active_and_a_dead_one_left_alone():
    model = nn.chain(conv=nn.Conv(2, 3), act=nn.relu)
    params, state, _ = made(model, (6, 6, 1))
    params["conv"]["bias"] = jnp.asarray([2.0, -100.0])
    run = partial(inspect.maximize_activation, model, params, state, jax.random.key(0), (6, 6, 1))
    lively = run(layer="act", channel=0, steps=20)
    y = conv_of(lively.image[None], params["conv"])[..., 0]
    np.testing.assert_allclose(lively.after, np.maximum(y, 0).mean(), rtol=1e-4)
    assert lively.after > lively.before + 0.1 > 0.2
    assert float(lively.image.min()) >= 0
    assert float(lively.image.max()) <= 1
    dead = run(layer="act", channel=1, steps=400, rate=0.1, decay=0.5)
    np.testing.assert_allclose(dead.image, 0.5, atol=1e-6)
    assert dead.before == dead.after == 0


def test_errors_of_maximize_activation():
    model, params, state, _, _ = linear()
    run = partial(inspect.maximize_activation, model, params, state, jax.random.key(0))
    with pytest.raises(ConfigError, match=r"channel=3 is not allowed: layer 'fc' gives .* 0 .. 2"):
        run((4, 6, 2), layer="fc", channel=3)
    with pytest.raises(ConfigError, match="channel=-1 is not allowed: the network gives"):
        run((4, 6, 2), layer=None, channel=-1)
    with pytest.raises(ConfigError, match="'top' is not a layer of this network"):
        run((4, 6, 2), layer="top", channel=0)
    with pytest.raises(ConfigError, match=r"rate=0,.* is not allowed: rate and blur_every are"):
        run((4, 6, 2), layer=None, channel=0, rate=0)
    with pytest.raises(ShapeError, match=r"expected \[N, H, W, C\]"):
        run((4, 6), layer=None, channel=0)


# Deconvolution.


def strongest(y, channel):
    """All zero but the largest entry of the channel, for each example."""
    signal = np.zeros_like(y)
    for n in range(len(y)):
        at = (n, *np.unravel_index(y[n, ..., channel].argmax(), y.shape[1:3]), channel)
        signal[at] = y[at]
    return signal


def stamp(signal, layer, size, **options):
    """The transposed convolution, by loops."""
    settings = {"stride": (1, 1), "pads": [(0, 0)] * 2, "dilation": (1, 1), "groups": 1, **options}
    return reference.conv_transpose(signal, double(layer["kernel"]), 0.0, size=size, **settings)


def test_deconvolution_of_one_convolution_is_its_transpose():
    model = nn.chain(conv=nn.Conv(3, 3, stride=2, padding=1), act=nn.relu)
    params, state, images = made(model, (5, 7, 2))
    options = {"stride": (2, 2), "pads": [(1, 1), (1, 1)]}
    y = strongest(conv_of(images, params["conv"], **options), 1)
    found = inspect.deconvolve(model, params, state, images, "conv", 1)
    np.testing.assert_allclose(found, stamp(y, params["conv"], (5, 7), **options), **CLOSE)


@pytest.mark.parametrize("layer", ["block/act1", "block/pool", "conv2", "act2"])
def test_deconvolution_back_through_pooling_relu_and_batch_norm(layer):
    block = nn.chain(
        conv1=nn.Conv(3, 3), norm=nn.BatchNorm(), act1=nn.relu, drop=nn.Dropout(0.5),
        pool=nn.MaxPool(2), same=nn.identity,
    )  # fmt: skip
    model = nn.chain(block=block, conv2=nn.Conv(2, 2), act2=nn.relu, gap=nn.GlobalAvgPool())
    params, state, images = made(model, (6, 8, 1))
    state["block"]["norm"] = {"mean": jnp.asarray([0.1, 0.2, -0.3]), "var": jnp.full(3, 0.5)}
    params["conv2"]["bias"] = jnp.full(2, 3.0)  # active
    first, norm, second = params["block"]["conv1"], params["block"]["norm"], params["conv2"]
    slope = double(norm["scale"]) / np.sqrt(0.5 + 1e-5)
    shift = double(norm["bias"]) - slope * double(state["block"]["norm"]["mean"])
    a = np.maximum(conv_of(images, first) * slope + shift, 0)
    p = reference.pool(a, "max", window=(2, 2), stride=(2, 2), pads=[(0, 0)] * 2)
    c = conv_of(p, second)
    if layer == "block/act1":
        signal = strongest(a, 0)
    else:
        signal = strongest(p, 0)
        if layer in ("conv2", "act2"):
            signal = strongest(np.maximum(c, 0) if layer == "act2" else c, 0)
            signal = stamp(signal, second, (2, 3))
        back = np.zeros_like(a)  # unpooled through the switches
        for n, i, j, k in reference.cells(*p.shape):
            window = a[n, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, k]
            row, column = np.unravel_index(window.argmax(), (2, 2))
            back[n, 2 * i + row, 2 * j + column, k] = signal[n, i, j, k]
        signal = back
    negative = (signal < 0).any()
    expected = stamp(np.maximum(signal, 0) * slope, first, (6, 8))  # ReLU of the signal
    found = inspect.deconvolve(model, params, state, images, layer, 0)
    np.testing.assert_allclose(found, expected, **CLOSE)
    assert negative == (layer in ("conv2", "act2"))  # else ReLU would have nothing to do
    if layer == "block/pool":  # a chain's output is that of its last layer
        again = inspect.deconvolve(model, params, state, images, "block", 0)
        np.testing.assert_array_equal(again, found)


def test_errors_of_deconvolution():
    model = nn.chain(
        conv=nn.Conv(2, 1),
        sum=nn.branch(nn.add, body=nn.chain(conv=nn.Conv(2, 1)), skip=nn.identity),
        flat=nn.Flatten(),
    )
    params, state, images = made(model, (2, 2, 1))
    run = partial(inspect.deconvolve, model, params, state, images)
    with pytest.raises(ConfigError, match=r"'c' is not a layer .* conv, sum/body/conv, sum/body,"):
        run("c", 0)
    with pytest.raises(ConfigError, match=r"cannot project back through layer 'sum', branch\("):
        run("sum/body/conv", 0)
    with pytest.raises(ConfigError, match="channel=2 is not allowed: layer 'conv' gives"):
        run("conv", 2)
    tanh = nn.chain(conv=nn.Conv(2, 1), act=nn.tanh)
    with pytest.raises(ConfigError, match=r"layer 'act', tanh: only chains of Conv"):
        inspect.deconvolve(tanh, params, state, images, "act", 0)
    branch = nn.branch(nn.add, a=nn.identity, b=nn.relu)
    with pytest.raises(ConfigError, match=r"expected a network built by `nn.chain`"):
        inspect.deconvolve(branch, {}, {}, images, "a", 0)
