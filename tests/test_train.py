"""The steps, the loop, evaluation and faults."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import data, losses, nn, optim, train
from jaxcnn.errors import ConfigError, NumericalError
from jaxcnn.typing import Batch

LOSS = losses.softmax_cross_entropy
NET = nn.chain(
    conv=nn.Conv(4, 3),
    norm=nn.BatchNorm(),
    act=nn.relu,
    pool=nn.MaxPool(2),
    flat=nn.Flatten(),
    drop=nn.Dropout(0.2),
    fc=nn.Dense(3),
)


def fit(splits, **changes):
    settings = {
        "loss": LOSS,
        "optimizer": optim.optimizer("nesterov", 0.05, weight_decay=1e-4),
        "epochs": 3,
        "batch_size": 32,  # 150 examples: 4 full batches and one of 22
        "seed": 0,
        "prepare": data.Scale(),
        "augment": data.Shift(1),
        "log_every": 2,
    }
    return train.fit(NET, splits.train, **{**settings, **changes})


class TestSteps:
    @pytest.fixture
    def batch(self, small):
        return Batch(
            jnp.asarray(small.train.images[:16]),
            jnp.asarray(small.train.labels[:16]),
            jnp.ones(16, bool),
        )

    def make(self, model, key, *, axis_name=None, rate=0.1):
        optimizer = optim.optimizer("sgd", rate)
        step = train.make_train_step(
            model, LOSS, optimizer, prepare=data.Scale(), axis_name=axis_name
        )
        return step, train.init_train_state(model, optimizer, key, (12, 12, 1))

    def test_sgd_is_the_gradient_of_the_mean_loss(self, key, batch):
        model = nn.chain(flat=nn.Flatten(), fc=nn.Dense(3))
        step, ts = self.make(model, key)
        after, counts = step(ts, batch, key)

        # The same by hand, in float64: logistic regression's gradient is x (p - t).
        x = np.asarray(batch.images, np.float64).reshape(16, -1) / 255
        w = np.asarray(ts.params["fc"]["kernel"], np.float64)
        scores = x @ w
        p = np.exp(scores - scores.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        t = np.eye(3)[np.asarray(batch.labels)]
        np.testing.assert_allclose(
            after.params["fc"]["kernel"], w - 0.1 * x.T @ (p - t) / 16, rtol=1e-5, atol=1e-7
        )
        np.testing.assert_allclose(after.params["fc"]["bias"], -0.1 * (p - t).mean(0), rtol=1e-4)
        loss_sum = -np.log(p[np.arange(16), np.asarray(batch.labels)]).sum()
        assert float(counts["loss_sum"]) == pytest.approx(loss_sum, rel=1e-5)
        assert int(counts["correct"]) == (p.argmax(1) == np.asarray(batch.labels)).sum()
        assert (int(counts["count"]), int(counts["nonfinite"]), int(after.step)) == (16, 0, 1)

    def test_masked_rows_change_nothing(self, key, batch):
        model = nn.chain(norm=nn.BatchNorm(), flat=nn.Flatten(), fc=nn.Dense(3))
        step, ts = self.make(model, key)
        short = Batch(batch.images[:10], batch.labels[:10], batch.mask[:10])
        padded = Batch(batch.images, batch.labels, jnp.arange(16) < 10)
        one, two = step(ts, short, key), step(ts, padded, key)
        chex.assert_trees_all_close(one, two, rtol=1e-4, atol=1e-6)
        assert int(two[1]["count"]) == 10

    def test_randomness_is_a_function_of_key_and_step(self, key, batch):
        step, ts = self.make(NET, key)
        chex.assert_trees_all_equal(step(ts, batch, key), step(ts, batch, key))
        later = ts._replace(step=jnp.int32(1))
        assert float(step(later, batch, key)[1]["loss_sum"]) != float(
            step(ts, batch, key)[1]["loss_sum"]
        )

    @pytest.mark.parametrize("way", ["shard_map", "pmap"])
    def test_devices_together_make_the_step_of_the_whole_batch(self, key, batch, way):
        """Plain SGD, so that a gradient n times too large shows; the last rows are padding."""
        model = nn.chain(conv=nn.Conv(4, 3), norm=nn.BatchNorm(), f=nn.Flatten(), fc=nn.Dense(3))
        batch = batch._replace(mask=jnp.arange(16) < 13)
        whole_step, ts = self.make(model, key)
        whole = whole_step(ts, batch, key)
        step, _ = self.make(model, key, axis_name="data")
        spec = jax.sharding.PartitionSpec
        if way == "shard_map":
            mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
            run = jax.shard_map(
                step, mesh=mesh, in_specs=(spec(), spec("data"), spec()), out_specs=spec()
            )
            parts = jax.jit(run)(ts, batch, key)
        else:
            run = jax.pmap(step, axis_name="data", in_axes=(None, 0, None), out_axes=None)
            parts = run(ts, jax.tree.map(lambda a: a.reshape(8, 2, *a.shape[1:]), batch), key)
        chex.assert_trees_all_close(parts, whole, rtol=1e-4, atol=1e-5)

    def test_any_optax_transformation_will_do(self, key, batch):
        optimizer = optax.sgd(1e-2, momentum=0.9)
        step = train.make_train_step(NET, LOSS, optimizer, prepare=data.Scale())
        ts = train.init_train_state(NET, optimizer, key, (12, 12, 1))
        assert int(step(ts, batch, key)[0].step) == 1


class TestFit:
    def test_learns_and_logs(self, small):
        lines = []
        result = fit(small, epochs=8, evaluate_on={"test": small.test}, on_record=lines.append)
        assert result.finished
        assert result.history == lines
        assert int(result.train_state.step) == 8 * 5
        last = [line for line in lines if line["kind"] == "eval"][-1]
        assert last["accuracy"] > 0.9
        assert (last["split"], last["epoch"], last["count"]) == ("test", 8, 45)
        trained = [line for line in lines if line["kind"] == "train"]
        assert [line["step"] for line in trained[:3]] == [2, 4, 5]
        assert [line["count"] for line in trained[:3]] == [64, 64, 22]
        assert all(line["learning_rate"] == pytest.approx(0.05) for line in trained)
        assert set(result.seconds) == {"init", "compile", "train", "eval", "checkpoints"}

    def test_images_per_second_are_those_of_each_interval_also_the_last(self, small):
        def slow(images):
            shape = jax.ShapeDtypeStruct(images.shape, images.dtype)

            def wait(images):
                time.sleep(0.11)
                return images

            return data.Scale()(jax.pure_callback(wait, shape, images))

        lines = fit(small, epochs=2, prepare=slow, augment=None, log_every=2).history
        for line, steps in zip(lines, [2, 2, 1, 2, 2, 1], strict=True):
            # Its steps slept so long at least. What ended before it was reported is half its own.
            assert line["images_per_second"] < line["count"] / (0.11 * steps) * 1.5

    def test_the_same_seed_gives_the_same_bits(self, small):
        one, two = fit(small), fit(small)
        chex.assert_trees_all_equal(one.train_state, two.train_state)
        other = fit(small, seed=1)
        kernels = [r.train_state.params["fc"]["kernel"] for r in (one, other)]
        assert not np.array_equal(*kernels)

    def test_logging_and_evaluating_do_not_change_the_result(self, small):
        one = fit(small)
        two = fit(small, log_every=1, evaluate_on={"test": small.test}, eval_batch_size=7)
        chex.assert_trees_all_equal(one.train_state, two.train_state)

    @pytest.mark.parametrize("stop_at", [1, 3, 5, 9])
    def test_a_stopped_training_goes_on_as_if_it_had_not_stopped(self, small, stop_at):
        whole = fit(small)
        asked = []
        first = fit(
            small, steps_per_call=1, should_stop=lambda: asked.append(1) or len(asked) >= stop_at
        )
        assert not first.finished
        assert int(first.train_state.step) == stop_at
        second = fit(small, start=first.train_state)
        chex.assert_trees_all_equal(second.train_state, whole.train_state)
        seen = sum(line["count"] for line in first.history + second.history)
        assert seen == 3 * 150

    def test_the_given_state_is_not_consumed(self, small):
        first = fit(small, epochs=1)
        fit(small, start=first.train_state)
        assert np.isfinite(np.asarray(first.train_state.params["fc"]["kernel"])).all()

    def test_the_loop_compiles_once(self, small):
        @dataclasses.dataclass(frozen=True)
        class Counting:
            def __call__(self, images):
                traces.append(1)
                return data.Scale()(images)

        traces: list[int] = []
        fit(small, epochs=1, prepare=Counting())
        once = len(traces)
        traces.clear()
        fit(small, epochs=4, prepare=Counting())
        assert len(traces) == once

    def test_padding_cropping_and_mixing_are_part_of_the_step(self, small):
        result = fit(
            small,
            prepare=data.Steps((data.Pad(2), data.Scale())),
            augment=data.Compose((data.AlternatingFlip(), data.RandomCrop(0, size=(10, 10)))),
            mix=data.Mixup(3),
        )
        shape = result.train_state.params["fc"]["kernel"].shape
        assert shape == (4 * 6 * 6, 3)  # 12 cropped to 10, padded to 14, conv 12, pool 6
        assert sum(line["count"] for line in result.history) == 3 * 150
        stopped = fit(small, mix=data.Cutmix(3), should_stop=lambda: True)
        whole = fit(small, mix=data.Cutmix(3))
        again = fit(small, mix=data.Cutmix(3), start=stopped.progress)
        chex.assert_trees_all_equal(again.train_state, whole.train_state)

    def test_on_epoch_sees_the_state_after_each_epoch(self, small):
        seen = []
        fit(
            small,
            on_epoch=lambda epoch, progress: seen.append((epoch, int(progress.train_state.step))),
        )
        assert seen == [(1, 5), (2, 10), (3, 15)]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"epochs": 0}, "epochs=0 is not allowed"),
            ({"epochs": 1.5}, "epochs=1.5 is not allowed"),
            ({"log_every": 0}, "log_every=0 is not allowed"),
            ({"batch_size": 0}, "batch_size=0 is not allowed"),
            ({"optimizer": optax.sgd(0.1)}, "does not keep its learning rate"),
        ],
    )
    def test_bad_settings_are_refused(self, small, change, message):
        with pytest.raises(ConfigError, match=message):
            fit(small, **change)

    def test_a_state_ahead_of_the_epochs_is_refused(self, small):
        done = fit(small).train_state
        with pytest.raises(ConfigError, match="has made 15 steps, more than epochs=2 of 5"):
            fit(small, epochs=2, start=done)


class TestFaults:
    def test_divergence_stops_with_step_and_layer_and_keeps_the_state_before(self, small):
        with pytest.raises(NumericalError, match=r"stopped at step \d+ \(epoch \d\): .*finite"):
            fit(small, optimizer=optim.optimizer("sgd", 1e30))
        try:
            fit(small, optimizer=optim.optimizer("sgd", 1e30))
        except NumericalError as error:
            leaves = jax.tree.leaves(error.progress.train_state)
            assert all(np.isfinite(np.asarray(leaf)).all() for leaf in leaves)

    @pytest.mark.parametrize("bad_step", [0, 3, 7])
    @pytest.mark.parametrize(
        ("place", "named"),
        [
            ("images", "the prepared images"),
            ("layer", "the output of layer 'body/poison'"),
            ("loss", "the loss"),
            ("gradient", "the gradient of parameter 'fc/bias'"),
        ],
    )
    def test_the_first_place_is_named(self, small, bad_step, place, named):
        """A value that becomes NaN at one step: in the input, a layer, the loss or backwards."""

        @dataclasses.dataclass(frozen=True)
        class Poison:
            def init(self, key, x):
                return {}, {"calls": jnp.zeros(())}

            def apply(self, params, state, x, ctx):
                if not ctx.train:
                    return x, state
                now = state["calls"] == bad_step
                if place == "layer":
                    x = jnp.where(now, jnp.nan, x)
                elif place == "gradient":
                    x = _nan_backwards(x, now)
                return x, {"calls": state["calls"] + 1}

        def loss(logits, labels):
            per_example = LOSS(logits, labels)
            return per_example * jnp.nan if place == "loss" else per_example

        def prepare(images):
            scaled = data.Scale()(images)
            return scaled * jnp.nan if place == "images" else scaled

        model = nn.chain(
            flat=nn.Flatten(), fc=nn.Dense(3), body=nn.chain(poison=Poison()), end=nn.identity
        )
        expected = bad_step if place in ("layer", "gradient") else 0
        with pytest.raises(NumericalError) as caught:
            train.fit(
                model,
                small.train,
                loss=loss,
                optimizer=optim.optimizer("sgd", 0.01),
                epochs=2,
                batch_size=32,
                seed=0,
                prepare=prepare,
                log_every=3,
            )
        assert f"stopped at step {expected} " in str(caught.value)
        assert named in str(caught.value)
        assert int(caught.value.progress.train_state.step) == expected


@jax.custom_vjp
def _nan_backwards(x, now):
    """The identity, whose gradient is NaN if `now`."""
    return x


_nan_backwards.defvjp(lambda x, now: (x, now), lambda now, g: (jnp.where(now, jnp.nan, g), None))


class TestSignals:
    def test_the_first_signal_asks_the_second_ends_and_handlers_come_back(self):
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt), train.stop_on_signals() as stop:  # noqa: PT012
            assert not stop()
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop()
            assert stop.signal == signal.SIGTERM
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGTERM) is before

    def test_outside_the_main_thread_it_just_never_stops(self):
        import threading

        answers = []

        def work():
            with train.stop_on_signals() as stop:
                answers.append(stop())

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert answers == [False]


def test_losses_with_settings_are_partials(small):
    smooth = partial(LOSS, label_smoothing=0.1)
    assert fit(small, loss=smooth, epochs=1).finished
