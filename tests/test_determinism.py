"""What `--deterministic` sets, refuses and says; without a GPU, on one that is made up."""

from __future__ import annotations

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import determinism
from jaxcnn import functional as F
from jaxcnn.errors import ConfigError
from jaxcnn.functional.lowering import choice

FLAG = "--xla_gpu_deterministic_ops=true"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", FLAG),
        ("--xla_dump_to=x", f"--xla_dump_to=x {FLAG}"),
        (FLAG, FLAG),
        ("--xla_gpu_deterministic_ops", "--xla_gpu_deterministic_ops"),
        (f"{FLAG} --xla_dump_to=x", f"{FLAG} --xla_dump_to=x"),
    ],
)
def test_the_flag_joins_those_of_the_user(before, after):
    assert determinism.with_flag(before) == after


@pytest.mark.parametrize("value", ["false", "0", "False"])
def test_flags_that_say_the_opposite_are_refused(value):
    with pytest.raises(ConfigError, match="says the opposite"):
        determinism.with_flag(f"--xla_gpu_deterministic_ops={value}")


def test_a_cpu_needs_nothing(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    said = []
    determinism.demand(said.append)  # the tests run with JAX_PLATFORMS=cpu
    assert said == ["deterministic: nothing to set, a CPU's programs repeat to the bit"]
    assert os.environ["XLA_FLAGS"] == "--xla_dump_to=x"


class TestGpu:
    @pytest.fixture(autouse=True)
    def _made_up(self, monkeypatch):
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
        monkeypatch.delenv("XLA_FLAGS", raising=False)

    def demand(self, monkeypatch, *, started):
        monkeypatch.setattr(determinism, "_platforms", lambda: None)
        monkeypatch.setattr(determinism, "_backend_started", lambda: started)
        said = []
        determinism.demand(said.append)
        return said

    def test_it_gets_the_flag(self, monkeypatch):
        (line,) = self.demand(monkeypatch, started=False)
        assert FLAG in line
        assert "cost: slower" in line
        assert os.environ["XLA_FLAGS"] == FLAG

    def test_too_late_is_an_error(self, monkeypatch):
        with pytest.raises(ConfigError, match="in use already"):
            self.demand(monkeypatch, started=True)
        monkeypatch.setenv("XLA_FLAGS", FLAG)
        assert self.demand(monkeypatch, started=True)

    @pytest.mark.parametrize("window", [2, 3, 5])
    def test_max_pooling_has_no_scatter_and_the_same_gradient(self, window, rng):
        x = jnp.asarray(rng.normal(size=(2, 11, 11, 3)).round(1), jnp.float32)

        def gradient(x):
            return jax.grad(lambda x: jnp.sum(F.max_pool(x, window, stride=2, rounding="floor")))(x)

        assert "select_and_scatter" in str(jax.make_jaxpr(gradient)(x))
        plain = jax.jit(gradient)(x)
        with determinism.operations(), choice.recorded() as made:
            program = str(jax.make_jaxpr(gradient)(x))
            repeatable = jax.jit(gradient)(x)
        assert "scatter" not in program
        assert {(one.operation, one.lowering) for one in made} == {("max_pool", "mask")}
        np.testing.assert_array_equal(repeatable, plain)


def test_on_a_cpu_operations_stay_as_they_are():
    x = jnp.ones((1, 12, 12, 1))
    for window in (2, 6):
        with choice.recorded() as usual:
            F.max_pool(x, window)
        with determinism.operations(), choice.recorded() as asked:
            F.max_pool(x, window)
        assert usual == asked


def test_an_unknown_platform_is_refused():
    with pytest.raises(ConfigError, match="the platform 'tpu9' needs"):
        determinism.explanation("tpu9")


def test_what_xla_refuses_is_named():
    error = RuntimeError(
        "UNIMPLEMENTED: HLO instruction %select-and-scatter.7 = f32[2,4]{1,0} does not have a "
        "deterministic implementation, but run-to-run determinism is required, metadata="
        '{op_name="jit(advance)/pool1/select_and_scatter_add"}\nmore'
    )
    refused = determinism.refusal(error)
    assert "no way to compute select-and-scatter.7" in str(refused)
    assert "in jit(advance)/pool1/select_and_scatter_add" in str(refused)
    assert determinism.refusal(RuntimeError("RESOURCE_EXHAUSTED: out of memory")) is None
