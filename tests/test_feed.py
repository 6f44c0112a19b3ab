"""Training on a stream of pictures: the same steps as from memory, in any number of parts."""

from __future__ import annotations

import threading

import chex
import jax
import numpy as np
import pytest

from jaxcnn import data, losses, metrics, nn, optim, train
from jaxcnn.data import Dataset, ImageFolder, Stream
from jaxcnn.errors import ConfigError, NumericalError
from jaxcnn.parallel import plan
from tests.pictures import write_pictures

MODEL = nn.chain(
    conv=nn.Conv(4, 3), norm=nn.BatchNorm(), act=nn.relu, pool=nn.MaxPool(2),
    flatten=nn.Flatten(), drop=nn.Dropout(0.3), fc=nn.Dense(3),
)  # fmt: skip
ROWS, SIZE = 16, 12  # 40 pictures: the last batch of an epoch has 8


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> ImageFolder:
    return ImageFolder.open(write_pictures(tmp_path_factory.mktemp("pictures") / "zoo"))


def open_stream(pictures, **changes) -> Stream:
    settings = {"size": SIZE, "batch_size": ROWS, "seed": 5, "train": True, "workers": 0}
    return Stream(pictures, **{**settings, **changes})


def fit(stream, **changes) -> train.Fit:
    settings = {
        "loss": losses.softmax_cross_entropy,
        "optimizer": optim.optimizer("momentum", 0.02),
        "epochs": 3,
        "batch_size": ROWS,
        "seed": 3,
        "prepare": data.Scale(),
        "log_every": 2,
        "devices": jax.devices()[:1],
    }
    return train.fit(MODEL, stream, **{**settings, **changes})


@pytest.fixture(scope="module")
def whole(pictures) -> train.Fit:
    with open_stream(pictures) as stream:
        return fit(stream, augment=data.Shift(1))


@pytest.mark.parametrize(
    ("way", "devices"),
    [
        ("shard_map", 4),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in (("jit", 4), ("pmap", 2))),
    ],
)
def test_all_ways_agree_with_one_device(pictures, whole, way, devices):
    with open_stream(pictures) as stream:
        result = fit(stream, augment=data.Shift(1), parallel=way, devices=jax.devices()[:devices])
    chex.assert_trees_all_close(result.train_state, whole.train_state, rtol=2e-4, atol=2e-5)


def test_a_stream_is_the_data_set_of_its_batches(pictures):
    """One epoch from memory, of the very examples that the stream gives."""
    with open_stream(pictures) as stream:
        streamed = fit(stream, epochs=1, log_every=1)
        batches = list(stream.batches(0))
    rows = [np.asarray(batch.mask) for batch in batches]
    images = np.concatenate([b.images[m] for b, m in zip(batches, rows, strict=True)])
    labels = np.concatenate([b.labels[m] for b, m in zip(batches, rows, strict=True)])
    order = np.asarray(data.epoch_order(jax.random.key(3), 0, len(labels), ROWS))[: len(labels)]
    back = np.argsort(order)  # so that shuffling restores the stream's order
    held = Dataset("held", images[back], labels[back], pictures.classes, "the stream")
    wanted = fit(held, epochs=1, log_every=1)
    chex.assert_trees_all_close(
        streamed.train_state.params, wanted.train_state.params, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    "stop_after", [4, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 6))]
)
def test_a_stopped_training_goes_on_with_the_same_bits(pictures, whole, stop_after):
    calls = iter(range(1, 100))
    with open_stream(pictures) as stream:
        first = fit(stream, augment=data.Shift(1), should_stop=lambda: next(calls) == stop_after)
    assert int(first.train_state.step) == stop_after
    with open_stream(pictures) as stream:
        second = fit(stream, augment=data.Shift(1), start=first.progress)
    chex.assert_trees_all_equal(second.train_state, whole.train_state)


def test_evaluation_counts_every_picture_once(pictures):
    params, state = train.init_train_state(
        MODEL, optim.optimizer("sgd", 0.1), jax.random.key(0), (SIZE, SIZE, 3)
    )[1:3]
    step = train.make_eval_step(MODEL, losses.softmax_cross_entropy, prepare=data.Scale())
    with open_stream(pictures, train=False) as stream:
        results = [
            metrics.summarize(train.make_evaluator(step, part, 10)(params, state))
            for part in (stream, stream, stream.sample(len(pictures)))
        ]
    streamed, again, held = results
    assert streamed == again
    assert streamed["count"] == held["count"] == 40
    assert streamed["accuracy"] == held["accuracy"]
    assert streamed["loss"] == pytest.approx(held["loss"], rel=1e-5)


def test_it_says_how_long_it_waited_for_input(whole):
    lines = [line for line in whole.history if line["kind"] == "train"]
    assert all(0 <= line["waiting_for_input"] <= 1 for line in lines)


@pytest.mark.parametrize("log_every", [1, 3])
def test_a_batch_that_is_not_finite_is_named_by_its_own_step(pictures, log_every):
    """The stream has gone on when the host notices; training has not, and the batch is read again.

    With intervals of one step, the host notices after the call for step 2 was made.
    """
    with open_stream(pictures) as stream:
        white = next(iter(stream.batches(0, 1))).images[0].mean()  # of step 1's first picture

    def prepare(images):  # one picture has this mean
        images = images.astype(np.float32)
        means = images.mean((1, 2, 3), keepdims=True)
        return jax.numpy.where(abs(means - np.float32(white)) < 1e-3, np.nan, images / 255)

    with (
        open_stream(pictures) as stream,
        pytest.raises(NumericalError, match=r"at step 1 .*the prepared images") as caught,
    ):
        fit(stream, prepare=prepare, log_every=log_every)
    assert int(caught.value.progress.train_state.step) == 1
    assert "prefetch" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 8}, r"makes batches of 16 rows for 1 process\(es\), but training takes 8"),
        ({"augment": data.AlternatingFlip()}, "depends on which example an image is"),
    ],
)
def test_what_does_not_fit(pictures, changes, message):
    with open_stream(pictures) as stream, pytest.raises(ConfigError, match=message):
        fit(stream, **changes)


def test_evaluation_rows_that_do_not_divide(pictures):
    step = train.make_eval_step(MODEL, losses.softmax_cross_entropy)
    layout = plan("jit", 3, jax.devices()[:3])
    with (
        open_stream(pictures, train=False) as stream,
        pytest.raises(ConfigError, match="batches of 16 rows, which do not divide over 3 devices"),
    ):
        train.make_evaluator(step, stream, 10, layout)


def test_a_sample_is_spread_over_the_classes(pictures):
    with open_stream(pictures) as stream:
        sample = stream.sample(10)
    assert sample.images.shape == (10, SIZE, SIZE, 3)
    assert set(sample.labels.tolist()) == {0, 1, 2}
