"""Networks: parameters, maps and multiply-adds of papers and decks (syllabus, section 5)."""

from __future__ import annotations

import jax
import pytest

import jaxcnn
from jaxcnn import models
from jaxcnn.errors import ConfigError

GREY, SMALL_GREY, COLOUR = (28, 28, 1), (32, 32, 1), (32, 32, 3)
IMAGENET, ALEXNET = (224, 224, 3), (227, 227, 3)


@pytest.mark.parametrize(
    ("model", "shape", "params"),
    [
        (models.logistic_regression(), GREY, 7_850),  # decks A and B
        (models.logistic_regression(1), GREY, 785),
        (models.mlp((300, 100)), GREY, 784 * 300 + 300 + 300 * 100 + 100 + 1_010),
        (models.mlp((5,), outputs=1), (4,), 4 * 5 + 5 + 5 + 1),
        (models.lenet5(), GREY, 61_706),  # deck A
        (models.lenet5(variant="1998"), GREY, 61_706),
        (models.deck_b_net(), SMALL_GREY, 81_194),  # deck B
        (models.deck_c_net(), GREY, 832 + 51_264 + 3_136 * 1_024 + 1_024 + 10_250),
        (models.deck_d_net(), GREY, 416 + 12_832 + 15_690),
        (models.deck_d_net(), COLOUR, 1_216 + 12_832 + 20_490),
        (models.alexnet(), ALEXNET, 62_378_344),  # deck E
        (models.vgg11(), IMAGENET, 132_863_336),
        (models.vgg16(), IMAGENET, 138_357_544),
        (models.resnet18(), IMAGENET, 11_689_512),
        (models.resnet50(), IMAGENET, 25_557_032),
        (models.resnet20(), COLOUR, 269_722),  # "about 0.27 M"
        (models.resnet9(), COLOUR, 6_573_120),  # as Page prints it
    ],
)
def test_parameters(model, shape, params):
    assert jaxcnn.ledger(model, shape).params == params


def maps(model, shape, names):
    rows = {row.path: row.output for row in jaxcnn.ledger(model, shape).rows}
    return [rows[name] for name in names]


def test_deck_c_maps():
    """Deck C, example 3: 32x28x28, 32x14x14, 64x14x14, 64x7x7 (channels first there)."""
    found = maps(models.deck_c_net(), GREY, ("conv1", "pool1", "conv2", "pool2"))
    assert found == [(28, 28, 32), (14, 14, 32), (14, 14, 64), (7, 7, 64)]


def test_alexnet_maps_and_weights_of_deck_e():
    table = jaxcnn.ledger(models.alexnet(), ALEXNET)
    rows = {row.path: row for row in table.rows}
    names = ("conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5")
    assert [rows[n].output[0] for n in names] == [55, 27, 27, 13, 13, 13, 13, 6]
    params, _ = jax.eval_shape(lambda: jaxcnn.init(models.alexnet(), jax.random.key(0), ALEXNET))
    layers = ("conv1", "conv2", "conv3", "conv4", "conv5", "dense6", "dense7", "logits")
    assert [params[name]["kernel"].size for name in layers] == [
        34_848,
        614_400,
        884_736,
        1_327_104,
        884_736,
        37_748_736,
        16_777_216,
        4_096_000,
    ]


@pytest.mark.parametrize(
    ("model", "shape", "macs"),
    [
        (models.logistic_regression(), GREY, 7_840),
        (models.lenet5(), GREY, 117_600 + 240_000 + 48_000 + 10_080 + 840),
        (
            models.deck_b_net(),
            SMALL_GREY,
            30 * 30 * 9 * 6 + 13 * 13 * 54 * 16 + 576 * 120 + 120 * 84 + 840,
        ),
        (
            models.alexnet(),
            ALEXNET,
            55**2 * 34_848
            + 27**2 * 614_400
            + 13**2 * (884_736 + 1_327_104 + 884_736)
            + 37_748_736
            + 16_777_216
            + 4_096_000,
        ),
        (
            models.resnet20(),
            COLOUR,
            32**2 * (27 * 16 + 6 * 9 * 16 * 16)
            + 16**2 * (9 * 16 * 32 + 5 * 9 * 32 * 32)
            + 8**2 * (9 * 32 * 64 + 5 * 9 * 64 * 64)
            + 640,
        ),
        (
            models.resnet9(),
            COLOUR,
            32**2 * 27 * 64
            + 32**2 * 9 * 64 * 128
            + 16**2 * 9 * 2 * 128 * 128
            + 16**2 * 9 * 128 * 256
            + 8**2 * 9 * 256 * 512
            + 4**2 * 9 * 2 * 512 * 512
            + 5_120,
        ),
        (
            models.vgg16(),
            IMAGENET,
            224**2 * 9 * (3 * 64 + 64 * 64)
            + 112**2 * 9 * (64 * 128 + 128 * 128)
            + 56**2 * 9 * (128 * 256 + 2 * 256 * 256)
            + 28**2 * 9 * (256 * 512 + 2 * 512 * 512)
            + 14**2 * 9 * (3 * 512 * 512)
            + 25_088 * 4_096
            + 4_096 * 4_096
            + 4_096_000,
        ),
    ],
)
def test_multiply_adds_equal_a_hand_count(model, shape, macs):
    assert jaxcnn.ledger(model, shape).macs == macs


@pytest.mark.parametrize("make", [getattr(models, name) for name in models.__all__])
def test_constructors_give_equal_values_without_addresses(make):
    assert make() == make()
    assert hash(make()) == hash(make())
    assert "0x" not in repr(make())


def test_the_number_of_classes_is_the_last_width():
    for make, shape in (
        (models.alexnet, ALEXNET),
        (models.vgg16, IMAGENET),
        (models.resnet50, IMAGENET),
        (models.resnet20, COLOUR),
        (models.deck_c_net, GREY),
    ):
        assert jaxcnn.ledger(make(classes=7), shape).rows[-1].output == (7,)


def test_an_mlp_needs_a_hidden_layer():
    with pytest.raises(ConfigError, match="use `logistic_regression`"):
        models.mlp(())


def test_resnets_halving_shortcut_has_zeros_around(rng):
    x = rng.normal(size=(2, 4, 4, 2)).astype("float32")
    y = models.resnet.halve_and_pad.function(jax.numpy.asarray(x))
    assert y.shape == (2, 2, 2, 4)
    assert (y[..., 1:3] == x[:, ::2, ::2]).all()
    assert not y[..., [0, 3]].any()
