"""GoogLeNet, MobileNet, vision transformers and our small net against counts by hand."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import pytest

import jaxcnn
from jaxcnn import nn
from jaxcnn.errors import ConfigError, ShapeError
from jaxcnn.models.googlenet import googlenet
from jaxcnn.models.mobilenet import mobilenet
from jaxcnn.models.small import small_cnn
from jaxcnn.models.vit import vit_small16, vit_tiny16

GREY, COLOUR, IMAGENET = (28, 28, 1), (32, 32, 3), (224, 224, 3)

ledger = functools.cache(jaxcnn.ledger)  # several tests look at the same table

# GoogLeNet by hand: size of the map, weights, biases of each part, and the multiply-adds in
# millions that table 1 of the paper prints. The weights of a module are those of 1x1, 3x3
# reduce, 3x3, 5x5 reduce, 5x5 and pool projection.
GOOGLENET = {
    "conv1": (112, 49 * 3 * 64, 64, None),  # the table has another layer here: see `googlenet`
    "reduce2, conv2": (56, 64 * 64 + 9 * 64 * 192, 64 + 192, 360),
    "inception3a": (
        28,
        192 * 64 + 192 * 96 + 9 * 96 * 128 + 192 * 16 + 25 * 16 * 32 + 192 * 32,
        64 + 96 + 128 + 16 + 32 + 32,
        128,
    ),
    "inception3b": (
        28,
        256 * 128 + 256 * 128 + 9 * 128 * 192 + 256 * 32 + 25 * 32 * 96 + 256 * 64,
        128 + 128 + 192 + 32 + 96 + 64,
        304,
    ),
    "inception4a": (
        14,
        480 * 192 + 480 * 96 + 9 * 96 * 208 + 480 * 16 + 25 * 16 * 48 + 480 * 64,
        192 + 96 + 208 + 16 + 48 + 64,
        73,
    ),
    "inception4b": (
        14,
        512 * 160 + 512 * 112 + 9 * 112 * 224 + 512 * 24 + 25 * 24 * 64 + 512 * 64,
        160 + 112 + 224 + 24 + 64 + 64,
        88,
    ),
    "inception4c": (
        14,
        512 * 128 + 512 * 128 + 9 * 128 * 256 + 512 * 24 + 25 * 24 * 64 + 512 * 64,
        128 + 128 + 256 + 24 + 64 + 64,
        100,
    ),
    "inception4d": (
        14,
        512 * 112 + 512 * 144 + 9 * 144 * 288 + 512 * 32 + 25 * 32 * 64 + 512 * 64,
        112 + 144 + 288 + 32 + 64 + 64,
        119,
    ),
    "inception4e": (
        14,
        528 * 256 + 528 * 160 + 9 * 160 * 320 + 528 * 32 + 25 * 32 * 128 + 528 * 128,
        256 + 160 + 320 + 32 + 128 + 128,
        170,
    ),
    "inception5a": (
        7,
        832 * 256 + 832 * 160 + 9 * 160 * 320 + 832 * 32 + 25 * 32 * 128 + 832 * 128,
        256 + 160 + 320 + 32 + 128 + 128,
        None,  # the table prints 54, but its own widths give 51
    ),
    "inception5b": (
        7,
        832 * 384 + 832 * 192 + 9 * 192 * 384 + 832 * 48 + 25 * 48 * 128 + 832 * 128,
        384 + 192 + 384 + 48 + 128 + 128,
        71,
    ),
    "logits": (1, 1024 * 1000, 1000, 1),
}

# MobileNet by hand: multiply-adds of the first convolution, then of each block (depthwise and
# 1x1) and of the last layer.
MOBILENET_MACS = (
    112**2 * 27 * 32
    + 112**2 * (9 * 32 + 32 * 64)
    + 56**2 * (9 * 64 + 64 * 128)
    + 56**2 * (9 * 128 + 128 * 128)
    + 28**2 * (9 * 128 + 128 * 256)
    + 28**2 * (9 * 256 + 256 * 256)
    + 14**2 * (9 * 256 + 256 * 512)
    + 14**2 * (9 * 512 + 512 * 512) * 5
    + 7**2 * (9 * 512 + 512 * 1024)
    + 7**2 * (9 * 1024 + 1024 * 1024)
    + 1024 * 1000
)
# And its parameters: weights as above, two of each normalization for every channel.
MOBILENET_PARAMS = (
    27 * 32 + 2 * 32
    + (9 * 32 + 32 * 64) + 2 * (32 + 64)
    + (9 * 64 + 64 * 128) + 2 * (64 + 128)
    + (9 * 128 + 128 * 128) + 2 * (128 + 128)
    + (9 * 128 + 128 * 256) + 2 * (128 + 256)
    + (9 * 256 + 256 * 256) + 2 * (256 + 256)
    + (9 * 256 + 256 * 512) + 2 * (256 + 512)
    + ((9 * 512 + 512 * 512) + 2 * (512 + 512)) * 5
    + (9 * 512 + 512 * 1024) + 2 * (512 + 1024)
    + (9 * 1024 + 1024 * 1024) + 2 * (1024 + 1024)
    + 1024 * 1000 + 1000
)  # fmt: skip


def vit_macs(width: int) -> int:
    """Patches, 12 blocks of attention (four maps, scores, mixing) and MLP, last layer."""
    attention = 4 * 197 * width**2 + 2 * 197**2 * width
    mlp = 2 * 197 * width * 4 * width
    return 14**2 * 16 * 16 * 3 * width + 12 * (attention + mlp) + width * 1000


@pytest.mark.parametrize(
    ("model", "shape", "params"),
    [
        (googlenet(), IMAGENET, 6_998_552),
        (mobilenet(), IMAGENET, 4_231_976),
        (mobilenet(width=0.25), IMAGENET, 470_072),
        (vit_tiny16(), IMAGENET, 5_717_416),
        (vit_small16(), IMAGENET, 22_050_664),
        (small_cnn(), GREY, 323_226),
    ],
)
def test_parameters(model, shape, params):
    assert ledger(model, shape).params == params


@pytest.mark.parametrize(
    ("model", "shape", "macs"),
    [
        (googlenet(), IMAGENET, sum(s**2 * weights for s, weights, *_ in GOOGLENET.values())),
        (mobilenet(), IMAGENET, MOBILENET_MACS),
        (vit_tiny16(), IMAGENET, vit_macs(192)),
        (vit_small16(), IMAGENET, vit_macs(384)),
        (
            small_cnn(),
            GREY,
            26**2 * 9 * 16
            + 24**2 * 9 * 16 * 16
            + 10**2 * 9 * 16 * 32
            + 8**2 * 9 * 32 * 64
            + 4**2 * 9 * 64 * 128
            + 2**2 * 9 * 128 * 192
            + 1_920,
        ),
    ],
)
def test_multiply_adds_equal_a_hand_count(model, shape, macs):
    assert ledger(model, shape).macs == macs


def test_hand_counts_of_parameters():
    assert sum(weights + biases for _, weights, biases, _ in GOOGLENET.values()) == 6_998_552
    assert MOBILENET_PARAMS == 4_231_976


def test_each_part_of_googlenet_equals_the_papers_table():
    """Parameters and multiply-adds module by module; the paper cuts or rounds to millions."""
    rows = ledger(googlenet(), IMAGENET).rows
    for names, (size, weights, biases, millions) in GOOGLENET.items():
        part = [row for row in rows if row.path.split("/")[0] in names.split(", ")]
        assert sum(row.params for row in part) == weights + biases, names
        assert sum(row.macs for row in part) == size**2 * weights, names
        if millions is not None:
            assert abs(size**2 * weights / 1e6 - millions) < 1, names


def test_googlenet_maps():
    """Table 1, "output size"; normalization after the first and before the second pooling."""
    rows = {row.path: row.output for row in ledger(googlenet(), IMAGENET).rows}
    maps = {
        path: shape
        for path, shape in rows.items()
        if "/" not in path and not path.startswith("act")
    }
    assert list(maps.items()) == [
        ("conv1", (112, 112, 64)),
        ("pool1", (56, 56, 64)),
        ("norm1", (56, 56, 64)),
        ("reduce2", (56, 56, 64)),
        ("conv2", (56, 56, 192)),
        ("norm2", (56, 56, 192)),
        ("pool2", (28, 28, 192)),
        ("pool3", (14, 14, 480)),
        ("pool4", (7, 7, 832)),
        ("mean", (1024,)),
        ("drop", (1024,)),
        ("logits", (1000,)),
    ]


def test_inception_modules_join_four_paths():
    """Figure 2b: 1x1, 3x3 and 5x5 behind a 1x1 each, and 1x1 behind a pooling."""
    rows = ledger(googlenet(), IMAGENET).rows
    module = [row for row in rows if row.path.startswith("inception5b/")]
    outputs = [row.output for row in module if not row.path.endswith(("act", "act_reduce"))]
    assert outputs == [
        (7, 7, 384),
        (7, 7, 192), (7, 7, 384),
        (7, 7, 48), (7, 7, 128),
        (7, 7, 832), (7, 7, 128),
    ]  # fmt: skip
    windows = [row.layer.kernel for row in module if isinstance(row.layer, nn.Conv)]
    assert windows == [1, 1, 3, 1, 5, 1]


def test_mobilenet_maps():
    """Table 1: the size halves in the stem and in blocks 2, 4, 6 and 12."""
    rows = {row.path: row.output for row in ledger(mobilenet(), IMAGENET).rows}
    assert rows["stem"] == (112, 112, 32)
    found = [rows[f"block{number}/pointwise"] for number in range(1, 14)]
    assert found == [
        (112, 112, 64),
        (56, 56, 128), (56, 56, 128),
        (28, 28, 256), (28, 28, 256),
        (14, 14, 512), (14, 14, 512), (14, 14, 512), (14, 14, 512), (14, 14, 512), (14, 14, 512),
        (7, 7, 1024), (7, 7, 1024),
    ]  # fmt: skip
    assert rows["mean"] == (1024,)


@pytest.mark.parametrize(
    ("width", "size", "mega_macs", "mega_params"),
    [
        (1.0, 224, 569, 4.2),
        (0.5, 224, 149, 1.3),
        (0.25, 224, 41, 0.5),
        (1.0, 160, 290, 4.2),
    ],
)
def test_mobilenets_of_the_papers_tables_6_and_7(width, size, mega_macs, mega_params):
    table = ledger(mobilenet(width=width), (size, size, 3))
    assert abs(table.macs / 1e6 - mega_macs) < 1  # the paper cuts some figures, rounds others
    assert round(table.params / 1e6, 1) == mega_params


@pytest.mark.parametrize("width", [0, -1.0, 0.03, float("inf"), float("nan")])
def test_mobilenet_refuses_a_width_without_channels(width):
    with pytest.raises(ConfigError, match=r"width=.* is not allowed: .* from 1/32"):
        mobilenet(width=width)


def test_the_narrowest_mobilenet_has_one_channel_in_its_stem():
    layers = dict(mobilenet(width=1 / 32).layers)
    assert layers["stem"].features == 1
    assert dict(layers["block13"].layers)["pointwise"].features == 32


@pytest.mark.parametrize("make", [googlenet, mobilenet, vit_tiny16, vit_small16, small_cnn])
def test_the_number_of_classes_is_the_last_width(make):
    assert make(classes=7).layers[-1] == ("logits", nn.Dense(7))


def test_the_fraction_dropped_is_a_setting():
    for make in (googlenet, small_cnn):
        assert [layer.rate for name, layer in make(rate=0.1).layers if name == "drop"] == [0.1]


@pytest.mark.parametrize("make", [googlenet, mobilenet, vit_tiny16, vit_small16, small_cnn])
def test_constructors_give_equal_values_without_addresses(make):
    assert make() == make()
    assert hash(make()) == hash(make())
    assert "0x" not in repr(make())


def test_a_vision_transformer_classifies_small_images(rng):
    model = vit_tiny16(classes=10)
    images = jnp.asarray(rng.normal(size=(2, 32, 32, 3)), jnp.float32)
    shapes, _ = jax.eval_shape(lambda key: jaxcnn.init(model, key, images), jax.random.key(0))
    assert shapes["position"]["pos_embedding"].shape == (1, 1 + 2 * 2, 192)
    # Drawn by NumPy: compiling 74 random draws takes longer than all else here.
    params = jax.tree.map(lambda s: jnp.asarray(rng.normal(0, 0.1, s.shape), s.dtype), shapes)
    logits = jax.jit(lambda params, x: jaxcnn.apply(model, params, {}, x)[0])(params, images)
    assert logits.shape == (2, 10)
    assert bool(jnp.isfinite(logits).all())
    assert float(jnp.abs(logits[0] - logits[1]).max()) > 1e-3  # the head sees the image


def test_a_vision_transformer_refuses_images_that_patches_do_not_tile():
    with pytest.raises(ShapeError, match="stride 16 does not fit"):
        ledger(vit_tiny16(), (40, 40, 3))


def test_the_small_net_classifies_digits(key, rng):
    model = small_cnn()
    images = jnp.asarray(rng.uniform(size=(3, 28, 28, 1)), jnp.float32)
    params, state = jaxcnn.init(model, key, images)

    @jax.jit
    def train_and_test(params, state):
        trained, after = jaxcnn.apply(model, params, state, images, train=True, key=key)
        return trained, after, jaxcnn.apply(model, params, after, images)[0]

    trained, after, tested = train_and_test(params, state)
    for logits in (trained, tested):
        assert logits.shape == (3, 10)
        assert bool(jnp.isfinite(logits).all())
    assert float(jnp.abs(after["norm1"]["mean"]).max()) > 0  # batch norm has seen the batch
