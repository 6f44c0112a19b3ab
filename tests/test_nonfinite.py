"""Steps that are not finite: what is refused, and the three things to do about it."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import checkpoint, losses, optim, replay, report, train
from jaxcnn.data.batches import epoch_order, train_batch
from jaxcnn.errors import CheckpointError, ConfigError, NumericalError, explain
from jaxcnn.train import guard
from jaxcnn.train.guard import addable, all_finite, moments
from jaxcnn.typing import Batch
from tests.conftest import blobs
from tests.poison import BATCH, NET, Prepare, dataset, poisoned_fit
from tests.test_train import fit


def bits_equal(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


class TestGuard:
    STATE = train.TrainState(
        jnp.int32(3), {"w": jnp.ones(2)}, {"mean": jnp.zeros(2)}, {"m": jnp.ones(2)}
    )

    @pytest.mark.parametrize("large", [guard.LARGE, 0])
    @pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
    @pytest.mark.parametrize("place", ["loss", "grads", "params", "state", "opt_state"])
    def test_one_bad_number_anywhere_refuses_the_step(self, place, bad, large, monkeypatch):
        monkeypatch.setattr(guard, "LARGE", large)
        new = jax.tree.map(lambda x: x + 1, self.STATE)
        counts = {"loss_sum": jnp.float32(2), "count": jnp.float32(4)}
        grads = {"w": jnp.ones(2)}
        taken, kept = guard.accept(lambda _, old: new, self.STATE, counts, grads)
        bits_equal(taken, new)
        assert (float(kept["count"]), int(kept["nonfinite"])) == (4, 0)
        poison = jnp.asarray([1.0, bad])
        if place == "loss":
            counts = counts | {"loss_sum": jnp.float32(bad)}
        elif place == "grads":
            grads = {"w": poison}
        else:
            tree = dict.fromkeys(getattr(new, place), poison)
            new = new._replace(**{place: tree})
        taken, kept = guard.accept(lambda _, old: new, self.STATE, counts, grads)
        bits_equal(taken, self.STATE)
        assert (float(kept["count"]), int(kept["nonfinite"])) == (0, 1)

    # The last three are large: folded where the first axis can be divided by 4.
    @pytest.mark.parametrize(
        "shape",
        [(7,), (20_000,), (128, 128), (3, 3, 40, 40), (1 << 20,), (1028, 1024), (1030, 1024)],
    )
    @pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
    def test_one_bad_number_among_many_is_found_wherever_it_is(self, shape, dtype):
        check, generator = jax.jit(all_finite), np.random.default_rng(0)
        largest = float(jnp.finfo(dtype).max)
        signs = generator.choice([-1.0, 1.0], (7, *shape))
        leaves = [jnp.asarray(largest * each, dtype) for each in signs]
        assert bool(check(leaves))
        for bad in (np.nan, np.inf, -np.inf):
            which = int(generator.integers(7))
            place = tuple(int(generator.integers(n)) for n in shape)
            one = leaves[which].at[place].set(bad)
            assert not bool(check([*leaves[:which], one, *leaves[which + 1 :]]))

    @pytest.mark.parametrize("shape", [(7,), (20_000,), (128, 128), (3, 3, 40, 40)])
    @pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
    def test_the_check_by_sums_takes_what_can_be_added_and_nothing_not_finite(self, shape, dtype):
        check, generator = jax.jit(addable), np.random.default_rng(0)
        large = min(float(jnp.finfo(dtype).max), 1e32)
        leaves = [jnp.full(shape, large, dtype), jnp.full(shape, -large / 2, dtype)]
        assert bool(check(leaves))
        for bad in (np.nan, np.inf, -np.inf):
            place = tuple(int(generator.integers(n)) for n in shape)
            assert not bool(check([leaves[0].at[place].set(bad), leaves[1]]))
            # Infinities of both signs add up to NaN.
            both = [leaves[0].at[place].set(bad), leaves[1].at[place].set(-bad)]
            assert not bool(check(both))

    def test_matrices_that_cannot_be_added_up_are_refused_and_named(self):
        huge = jnp.full((128, 128), jnp.finfo(jnp.float32).max)
        assert bool(all_finite(huge))
        assert not bool(addable(huge))
        optimizer = optax.GradientTransformation(
            lambda params: {"huge": huge}, lambda grads, state, params: (grads, state)
        )
        ts = train.init_train_state(NET, optimizer, jax.random.key(0), (12, 12, 1))
        batch = Batch(jnp.zeros((1, 12, 12, 1)), jnp.zeros(1, jnp.int32))
        loss, key = losses.softmax_cross_entropy, jax.random.key(0)
        _, counts = train.make_train_step(NET, loss, optimizer)(ts, batch, key)
        assert int(counts["nonfinite"]) == 1
        place = train.find_fault(NET, loss, ts, batch, key, lambda x: x, optimizer)
        assert place.startswith("the sum of gradients, parameters")

    def test_single_numbers_of_an_optimizer_may_be_infinite(self):
        assert moments({"best": jnp.inf, "m": jnp.ones(3)})[0].shape == (3,)
        assert bool(all_finite(moments({"best": jnp.float32(jnp.inf), "m": jnp.ones(3)})))

    def test_a_square_that_overflows_is_caught(self, small):
        """Adam's second moment would be infinite and its update 0: training would stand still."""
        with pytest.raises(NumericalError, match=r"the optimizer's '.*nu.*' after the update"):
            fit(
                small,
                loss=lambda y, labels: 1e22 * losses.softmax_cross_entropy(y, labels),
                optimizer=optim.optimizer("adam", 1e-3),
            )


@dataclasses.dataclass(frozen=True)
class BackOnce:
    """A policy that goes back at the value with number `at`, and keeps after all others."""

    at: int

    def start(self):
        return {"seen": 0}

    def update(self, state, value):
        del value
        seen = state["seen"] + 1
        back = seen == self.at
        return {"seen": seen}, train.Decision(1.0, back, not back)


class TestSkip:
    def by_hand(self, bad_steps, epochs=4):
        """The loop in plain Python, which leaves out the steps of a list."""
        optimizer = optax.chain(optim.optimizer("momentum", 0.05), optax.identity())
        made, key = dataset(bad_steps), jax.random.key(0)
        step = jax.jit(
            train.make_train_step(
                NET, losses.softmax_cross_entropy, optimizer, prepare=Prepare(np.nan)
            )
        )
        ts = train.init_train_state(NET, optimizer, key, (12, 12, 1))
        images, labels = jnp.asarray(made.images), jnp.asarray(made.labels)
        skipped = []
        for number in range(epochs * 5):
            order = epoch_order(key, number // 5, 80, BATCH)
            batch = train_batch(
                images, labels, order, key, epoch=number // 5, position=number % 5, batch_size=BATCH
            )
            if np.isnan(np.asarray(Prepare(np.nan)(batch.images))).any():
                skipped.append(number)
                ts = ts._replace(step=jnp.int32(number + 1))
            else:
                ts, _ = step(ts, batch, key)
        return ts, skipped

    @pytest.mark.parametrize("large", [guard.LARGE, 0])
    def test_bad_batches_are_left_out_and_nothing_else_changes(self, large, monkeypatch):
        monkeypatch.setattr(guard, "LARGE", large)
        wanted, steps = self.by_hand((1, 3))
        result = poisoned_fit(bad_inputs=(1, 3), on_nonfinite="skip", nonfinite_limit=8)
        assert steps[:2] == [1, 3]
        assert len(steps) > 4  # both come in every epoch, sometimes in one batch
        assert result.finished
        bits_equal(result.train_state.params, wanted.params)
        assert int(result.train_state.step) == 20
        assert result.progress.policies["skip"]["state"]["steps"] == steps
        lines = [line for line in result.history if line["kind"] == "skipped"]
        assert [step for line in lines for step in line["steps"]] == steps
        assert lines[-1]["all"] == len(steps)
        counted = sum(line["count"] for line in result.history if line["kind"] == "train")
        assert counted == 4 * 80 - len(steps) * BATCH

    @pytest.mark.parametrize("stop_at", [2, 4, 5, 12])
    def test_a_stopped_training_goes_on_as_the_whole_one(self, stop_at):
        settings = {"bad_inputs": (1, 3), "on_nonfinite": "skip", "nonfinite_limit": 8}
        whole = poisoned_fit(**settings)
        asked = []
        first = poisoned_fit(
            **settings, should_stop=lambda: asked.append(1) or len(asked) >= stop_at
        )
        assert int(first.train_state.step) == stop_at
        second = poisoned_fit(**settings, start=first.progress)
        bits_equal(second.train_state, whole.train_state)
        assert second.progress.policies == whole.progress.policies

    @pytest.mark.parametrize("stop_at", [1, 2, 3])
    def test_what_to_go_back_to_is_the_same_after_a_stop(self, stop_at):
        """An interval whose every batch was left out moves on what a policy goes back to."""
        settings = {
            "bad_inputs": (1,), "on_nonfinite": "skip", "nonfinite_limit": 9, "log_every": 1,
            "policies": {"once": train.Monitored(BackOnce(at=3), "train")}, "epochs": 1,
        }  # fmt: skip
        whole = poisoned_fit(**settings)
        asked = []
        first = poisoned_fit(
            **settings, should_stop=lambda: asked.append(1) or len(asked) >= stop_at
        )
        second = poisoned_fit(**settings, start=first.progress)
        bits_equal(second.train_state, whole.train_state)
        assert second.progress.policies == whole.progress.policies

    def test_it_is_bounded_and_then_names_the_place(self):
        with pytest.raises(NumericalError, match=r"stopped at step 3 .*: the prepared images") as e:
            poisoned_fit(bad_inputs=(1, 3), on_nonfinite="skip", nonfinite_limit=1)
        assert "1 batches had been left out, of steps [1]" in explain(e.value)
        assert e.value.progress.policies["skip"]["state"]["steps"] == [1]
        assert int(e.value.progress.train_state.step) == 3

    def test_an_interval_without_any_good_step_has_no_line(self):
        result = poisoned_fit(
            bad_inputs=(1,), on_nonfinite="skip", nonfinite_limit=4, log_every=1, epochs=1
        )
        steps = [line["step"] for line in result.history if line["kind"] == "train"]
        assert steps == [1, 3, 4, 5]
        assert [line["steps"] for line in result.history if line["kind"] == "skipped"] == [[1]]

    def test_going_on_without_it_is_refused(self):
        progress = poisoned_fit(bad_inputs=(1,), on_nonfinite="skip", epochs=1).progress
        with pytest.raises(ConfigError, match="left out 1 batches: pass on_nonfinite='skip'"):
            poisoned_fit(start=progress)

    def test_two_devices_leave_out_the_same(self):
        settings = {"bad_inputs": (1, 3), "on_nonfinite": "skip", "nonfinite_limit": 8}
        one = poisoned_fit(**settings)
        for way in ("jit", "shard_map"):
            two = poisoned_fit(**settings, devices=jax.devices()[:2], parallel=way)
            assert two.progress.policies == one.progress.policies


def test_curves_are_drawn_of_a_log_with_other_lines():
    """What policies did and which batches were left out has no accuracy."""
    result = poisoned_fit(bad_inputs=(1,), on_nonfinite="skip", nonfinite_limit=9, epochs=2)
    policy = {"kind": "policy", "policy": "p", "step": 3, "went_back": True, "rate_factor": 0.1}
    figure = report.training_curves([*result.history, policy])
    assert figure.axes


class TestRollback:
    def test_a_rate_that_is_too_high_is_divided_until_it_works(self, small):
        wild = {"optimizer": optim.optimizer("sgd", 1e30), "log_every": 5}
        with pytest.raises(NumericalError):
            fit(small, **wild)
        result = fit(small, **wild, on_nonfinite="rollback", nonfinite_limit=40)
        assert result.finished
        back = [line for line in result.history if line["kind"] == "policy"]
        assert [line["policy"] for line in back] == ["rollback"] * len(back)
        assert [line["rate_factor"] for line in back] == pytest.approx(
            [0.1**k for k in range(1, len(back) + 1)]
        )
        assert back[0]["step"] == 0
        assert bool(all_finite(result.train_state))

    def test_it_is_bounded_and_names_the_place(self):
        """Bad data comes again: going back does not help."""
        with pytest.raises(NumericalError, match=r"diverged again .* after 2 retries") as caught:
            poisoned_fit(bad_inputs=(3,), on_nonfinite="rollback", nonfinite_limit=2)
        assert "At step 3 the prepared images is not finite" in explain(caught.value)
        assert caught.value.fault.step == 3
        assert bool(all_finite(caught.value.progress.train_state.params))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"on_nonfinite": "ignore"}, "on_nonfinite='ignore' is not allowed: use 'stop', 'skip'"),
        ({"nonfinite_limit": 0}, "nonfinite_limit=0 is not allowed"),
        (
            {"policies": {"skip": train.Monitored(train.ReduceOnPlateau())}},
            "may not be called 'skip'",
        ),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        poisoned_fit(**changes)


class TestReplay:
    @pytest.fixture
    def fault(self):
        with pytest.raises(NumericalError) as caught:
            poisoned_fit("gradient", 7)
        return caught.value.fault

    def test_a_bundle_holds_the_whole_step(self, fault, tmp_path):
        replay.save(tmp_path / "step", fault, {"experiment": "lenet"})
        about = replay.about(tmp_path / "step")
        assert (about["step"], about["experiment"]) == (7, "lenet")
        again = replay.load(tmp_path / "step", fault.train_state)
        bits_equal(again.train_state, fault.train_state)
        bits_equal(again.batch, fault.batch)
        assert again.place == fault.place == "the gradient of parameter 'fc/bias'"
        place = train.find_fault(
            NET, losses.softmax_cross_entropy, again.train_state, again.batch, again.key,
            Prepare(np.nan),
        )  # fmt: skip
        assert place == fault.place
        named = [name for name, _ in train.largest(NET, again, Prepare(np.nan))]
        assert named == ["(input)", "flat", "fc", "poison"]

    def test_it_may_hold_what_no_checkpoint_may(self, fault, tmp_path):
        params = {**fault.train_state.params, "fc": {"bias": jnp.full(3, jnp.nan)}}
        params["fc"]["kernel"] = fault.train_state.params["fc"]["kernel"].astype(jnp.bfloat16)
        bad = fault._replace(train_state=fault.train_state._replace(params=params))
        replay.save(tmp_path / "bad", bad, {})
        again = replay.load(tmp_path / "bad", bad.train_state)
        bits_equal(again.train_state, bad.train_state)
        assert again.train_state.params["fc"]["kernel"].dtype == jnp.bfloat16

    def test_a_checkpoint_is_no_bundle(self, tmp_path):
        checkpoint.save(tmp_path / "c", {"a": jnp.ones(1)}, {})
        with pytest.raises(CheckpointError, match="is a checkpoint, not a replay bundle"):
            replay.about(tmp_path / "c")

    @pytest.mark.parametrize(
        "changes",
        [
            {"batch": None},
            {"batch": 5},
            {"batch": {"pictures": "float32"}},
            {"batch": {"images": "nonsense", "labels": "int32"}},
            {"batch": {"images": "float16", "labels": 3}},
            {"step": "7"},
            {"place": None},
            {"key": "dice"},
        ],
    )
    def test_a_forged_one_is_refused(self, fault, tmp_path, changes):
        """With a digest that fits: what the fields say may still be anything."""
        path = tmp_path / "step"
        replay.save(path, fault, {})
        manifest = checkpoint.read_manifest(path)
        manifest["about"] |= changes
        manifest["sha256"] = checkpoint.manifest_digest(manifest)
        (path / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(CheckpointError, match=r"expected|its fields are not those of a replay"):
            replay.load(path, fault.train_state)

    def test_a_flipped_bit_is_found(self, fault, tmp_path):
        replay.save(tmp_path / "step", fault, {})
        file = tmp_path / "step" / "arrays.npz"
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match="does not match its SHA-256"):
            replay.load(tmp_path / "step", fault.train_state)


def test_blobs_have_no_bad_pixel():
    assert blobs(80, seed=1).images.max() < 255
