"""`fit` under policies, and what they know in a stopped and resumed training."""

from __future__ import annotations

import chex
import jax
import numpy as np
import pytest

from jaxcnn import optim, train
from jaxcnn.errors import ConfigError, NumericalError
from tests.conftest import blobs
from tests.test_train import fit


class TestPolicies:
    """`fit` under policies, and what they know in a stopped and resumed training."""

    def settings(self, **changes):
        return {
            "evaluate_on": {"validation": blobs(40, seed=5)},
            "epochs": 6,
            "optimizer": optim.optimizer("sgd", 0.5),
            **changes,
        }

    def test_plateau_lowers_the_rate_once_an_evaluation(self, small):
        never = train.ReduceOnPlateau(factor=0.5, patience=1, min_delta=1e9)  # nothing improves
        result = fit(small, **self.settings(policies={"p": train.Monitored(never)}))
        rates = [line["learning_rate"] for line in result.history if line["kind"] == "train"]
        assert rates[::3] == pytest.approx([0.5 * 0.5 ** max(epoch - 1, 0) for epoch in range(6)])
        changes = [line for line in result.history if line["kind"] == "policy"]
        assert [line["rate_factor"] for line in changes] == [0.5**k for k in range(1, 6)]
        assert int(result.train_state.step) == 30

    def test_stepping_back_restores_the_best_state_and_repeats_its_epochs(self, small):
        back = train.StepBack(factor=0.5, patience=1, min_delta=1e9, least=0.2)
        seen = []
        result = fit(
            small,
            **self.settings(policies={"p": train.Monitored(back)}),
            on_epoch=lambda epoch, progress: seen.append(int(progress.train_state.step)),
        )
        # The first epoch is the best for ever; back to it for each factor down to 0.2.
        assert seen == [5, 5, 5, 5, 10, 15, 20, 25, 30]
        assert result.finished
        changes = [line for line in result.history if line["kind"] == "policy"]
        assert [(c["went_back"], c["rate_factor"]) for c in changes] == [
            (True, 0.5),
            (True, 0.25),
            (True, 0.2),
        ]

    def test_divergence_is_retried_at_a_tenth_of_the_rate(self, small):
        wild = self.settings(optimizer=optim.optimizer("sgd", 1e20))
        with pytest.raises(NumericalError, match="is not finite"):
            fit(small, **wild)
        retry = train.Monitored(train.RetryOnDivergence(factor=1e-22), "train", "loss")
        result = fit(small, **wild, policies={"retry": retry})
        assert result.finished
        changes = [line for line in result.history if line["kind"] == "policy"]
        assert [(c["step"], c["went_back"]) for c in changes] == [(0, True)]
        assert result.history[-1]["loss"] < 1.5

    def test_a_policy_that_gives_up_leaves_finite_progress(self, small):
        retry = train.Monitored(train.RetryOnDivergence(factor=0.9, most=2), "train", "loss")
        settings = self.settings(optimizer=optim.optimizer("sgd", 1e20))
        with pytest.raises(NumericalError, match=r"diverged again .* after 2 retries") as caught:
            fit(small, **settings, policies={"retry": retry})
        leaves = jax.tree.leaves(caught.value.progress)
        assert all(np.isfinite(np.asarray(leaf)).all() for leaf in leaves)

    def test_what_no_policy_goes_back_from_stops_the_training(self, small):
        watching = train.Monitored(train.ReduceOnPlateau(patience=50), "train", "loss")
        with pytest.raises(NumericalError, match="is not finite"):
            fit(
                small,
                **self.settings(optimizer=optim.optimizer("sgd", 1e20)),
                policies={"p": watching},
            )

    @pytest.mark.parametrize(
        "stop_at", [13, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 5, 10, 20))]
    )
    def test_a_stopped_training_decides_as_the_whole_one(self, small, stop_at):
        settings = self.settings(
            policies={
                "back": train.Monitored(train.StepBack(patience=1, min_delta=0.02, least=0.1)),
                "retry": train.Monitored(
                    train.RetryOnDivergence(times=1e3, window=100), "train", "loss"
                ),
            },
        )
        whole = fit(small, **settings)
        asked = []
        first = fit(
            small,
            **settings,
            steps_per_call=1,
            should_stop=lambda: asked.append(1) or len(asked) >= stop_at,
        )
        second = fit(small, **settings, start=first.progress)
        chex.assert_trees_all_equal(second.progress.train_state, whole.progress.train_state)
        assert second.progress.policies == whole.progress.policies

        def evaluations(*parts):
            lines = [line for part in parts for line in part.history]
            return [(li["step"], li["loss"]) for li in lines if li["kind"] == "eval"]

        assert evaluations(first, second) == evaluations(whole)

    def test_other_policies_on_resuming_are_refused(self, small):
        settings = self.settings(policies={"p": train.Monitored(train.ReduceOnPlateau())})
        progress = fit(small, **settings).progress
        with pytest.raises(ConfigError, match="had other policies: p differ"):
            fit(small, **self.settings(epochs=8), start=progress)
