"""Time by layer from a real trace of a small network."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

import jaxcnn
from jaxcnn import nn
from jaxcnn.profile import ProfileError, by_layer, operation_seconds, profile, scopes


def test_every_layer_that_computes_is_found(tmp_path):
    model = nn.chain(
        block=nn.chain(conv=nn.Conv(8, 3), act=nn.relu, pool=nn.MaxPool(2)),
        flatten=nn.Flatten(),
        fc=nn.Dense(5),
    )
    params, state = jaxcnn.init(model, jax.random.key(0), (10, 10, 1))
    x = jnp.ones((16, 10, 10, 1))

    def loss(params):
        return jnp.sum(jaxcnn.apply(model, params, state, x)[0] ** 2)

    compiled = jax.jit(jax.grad(loss)).lower(params).compile()
    layers = [row.path for row in jaxcnn.ledger(model, (10, 10, 1)).rows]
    found = profile(lambda: compiled(params), compiled.as_text(), layers, tmp_path, calls=2)
    assert found.trace.is_file()
    assert {"block/conv", "fc"} <= set(found.seconds)
    assert set(found.seconds) <= {*layers, "(no layer)"}
    assert list(found.seconds.values()) == sorted(found.seconds.values(), reverse=True)
    assert all(value > 0 for value in found.seconds.values())


def test_a_trace_without_operations_is_an_error(tmp_path):
    with pytest.raises(ProfileError, match="holds no operation of the program"):
        profile(lambda: None, "", [], tmp_path)


def test_parsing():
    events = [
        {"ph": "X", "dur": 2e6, "args": {"hlo_op": "dot.1"}},
        {"ph": "X", "dur": 1e6, "args": {"hlo_op": "dot.1"}},
        {"ph": "X", "dur": 9e6, "args": {}},
        {"ph": "M", "args": {"hlo_op": "dot.1"}},
    ]
    assert operation_seconds(events) == {"dot.1": 3.0}
    text = '%f.2 = f32[] fusion(%x), kind=kLoop, metadata={op_name="jit(s)/jvp(a)/b/mul"}\n'
    assert scopes(text) == {"f.2": "jit(s)/jvp(a)/b/mul"}
    assert by_layer({"f.2": 1.0, "g": 2.0}, scopes(text), ["a/b", "a"]) == {
        "(no layer)": 2.0,
        "a/b": 1.0,
    }
