"""Laws that every layer and model obeys, over the whole catalogue."""

from __future__ import annotations

import copy
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import jaxcnn
from jaxcnn import functional, nn
from jaxcnn.errors import MissingKeyError, explain
from tests.catalog import CATALOG, Entry

BATCH = 4


def _params():
    """One worker gets all tests of an entry, so that it compiles only once."""
    for entry in CATALOG:
        marks = [pytest.mark.xdist_group(entry.name), *[pytest.mark.slow] * entry.slow]
        yield pytest.param(entry, id=entry.name, marks=marks)


@pytest.fixture(params=_params())
def entry(request) -> Entry:
    return request.param


def inputs(entry: Entry, dtype=jnp.float32):
    return jax.random.normal(jax.random.key(1), (BATCH, *entry.shape), dtype)


@functools.lru_cache  # compiling is most of the cost of these tests
def initial(entry: Entry):
    return jaxcnn.init(entry.layer, jax.random.key(0), entry.shape)


@functools.lru_cache
def trained(entry: Entry):
    """Parameters and state whose running statistics differ from their start."""
    params, state = initial(entry)
    return params, train(entry, params, state, 2 * inputs(entry) + 1)[1]


@functools.partial(jax.jit, static_argnums=0)
def train(entry: Entry, params, state, x):
    return jaxcnn.apply(entry.layer, params, state, x, train=True, key=jax.random.key(2))


@functools.partial(jax.jit, static_argnums=0)
def evaluate(entry: Entry, params, state, x):
    return jaxcnn.apply(entry.layer, params, state, x)


def test_jit_equals_eager(entry):
    params, state = trained(entry)
    eager = jaxcnn.apply(entry.layer, params, state, inputs(entry))
    jitted = evaluate(entry, params, state, inputs(entry))
    chex.assert_trees_all_close(jitted, eager, rtol=1e-5, atol=1e-5)


def test_evaluation_needs_no_key_and_returns_the_state_unchanged(entry):
    params, state = trained(entry)
    _, after = jaxcnn.apply(entry.layer, params, state, inputs(entry))
    chex.assert_trees_all_equal(after, state)


def test_training_keeps_the_structure_shapes_and_dtypes_of_the_state(entry):
    params, state = initial(entry)
    _, after = train(entry, params, state, inputs(entry))
    chex.assert_trees_all_equal_shapes_and_dtypes(after, state)


def test_evaluation_treats_each_example_alone(entry):
    params, state = trained(entry)
    x = inputs(entry)
    whole, _ = evaluate(entry, params, state, x)
    single = [evaluate(entry, params, state, x[i : i + 1])[0] for i in range(BATCH)]
    np.testing.assert_allclose(whole, jnp.concatenate(single), rtol=1e-5, atol=1e-5)


def test_init_is_deterministic_and_maps_over_keys(entry):
    first = jaxcnn.init(entry.layer, jax.random.key(7), entry.shape)
    chex.assert_trees_all_equal(jaxcnn.init(entry.layer, jax.random.key(7), entry.shape), first)
    keys = jax.random.split(jax.random.key(3), 2)
    many = jax.vmap(lambda key: jaxcnn.init(entry.layer, key, entry.shape))(keys)
    one = jaxcnn.init(entry.layer, keys[1], entry.shape)
    chex.assert_trees_all_close(jax.tree.map(lambda a: a[1], many), one, rtol=1e-6)


def test_init_does_not_depend_on_siblings(entry):
    alone = nn.chain(it=entry.layer)
    after = nn.chain(before=nn.Dropout(0.5), other=nn.BatchNorm(), it=entry.layer)
    kernels = [
        jaxcnn.init(model, jax.random.key(0), entry.shape)[0].get("it") for model in (alone, after)
    ]
    chex.assert_trees_all_equal(*kernels)


def test_parameters_are_float32_dicts(entry):
    params, state = initial(entry)
    assert isinstance(params, dict)
    assert isinstance(state, dict)
    assert {leaf.dtype for leaf in jax.tree.leaves((params, state))} <= {jnp.dtype("float32")}
    with jax.enable_x64(True):  # float64 must be asked for
        spec = jax.ShapeDtypeStruct((1, *entry.shape), jnp.float32)
        wide = jax.eval_shape(lambda: jaxcnn.init(entry.layer, jax.random.key(0), spec))
    assert {leaf.dtype for leaf in jax.tree.leaves(wide)} <= {jnp.dtype("float32")}


def test_analytic_equals_numerical_gradient_in_float64(entry):
    check_numerically(entry, order=1, modes=["rev"])


@pytest.mark.slow
@pytest.mark.parametrize("lowering", ["auto", "xla"])
def test_second_derivatives_in_float64(entry, lowering):
    """Of every layer; forwards too where nothing has its gradient written by hand."""
    forwards = lowering == "xla" and "linen" not in entry.name and "nnx" not in entry.name
    with functional.lowering(lowering):
        check_numerically(entry, order=2, modes=["fwd", "rev"] if forwards else ["rev"])


def check_numerically(entry, *, order, modes):
    if not entry.small:
        pytest.skip("too large for numerical differences; its layers are checked one by one")
    single = trained(entry)
    with jax.enable_x64(True):
        params, state = jax.tree.map(lambda a: a.astype(jnp.float64), single)
        x = inputs(entry, jnp.float64)
        weights = jnp.asarray(
            np.random.default_rng(0).normal(
                size=jaxcnn.apply(entry.layer, params, state, x)[0].shape
            )
        )

        @functools.partial(jax.jit, static_argnums=2)
        def scalar(params, x, train):
            y, _ = jaxcnn.apply(entry.layer, params, state, x, train=train, key=jax.random.key(5))
            return jnp.sum(weights * y)

        for train in (False, True):
            check_grads(
                lambda p, x, train=train: scalar(p, x, train), (params, x), order=order,
                modes=modes, rtol=1e-6, atol=1e-6, eps=1e-6,
            )  # fmt: skip


def test_bfloat16_in_bfloat16_out_with_float32_statistics(entry):
    params, state = trained(entry)
    y, after = train(entry, params, state, inputs(entry, jnp.bfloat16))
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(after)} <= {jnp.dtype("float32")}


def test_ledger_parameters_equal_those_of_init(entry):
    params, _ = initial(entry)
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert jaxcnn.ledger(entry.layer, entry.shape).params == count
    assert jaxcnn.ledger(nn.chain(it=entry.layer), entry.shape).params == count


def test_equal_descriptions_are_equal_hash_alike_and_print_no_address(entry):
    twin = copy.deepcopy(entry.layer)
    assert twin == entry.layer
    assert hash(twin) == hash(entry.layer)
    assert "0x" not in repr(entry.layer)


def test_a_failure_names_the_path(entry):
    model = nn.chain(outer=nn.chain(it=entry.layer))
    params, state = jaxcnn.init(model, jax.random.key(0), entry.shape)
    broken = jnp.zeros((BATCH, *entry.shape), jnp.float32)

    def tap(path, layer, x, y):
        if path == "outer/it":
            raise RuntimeError("injected")
        return y

    with pytest.raises(RuntimeError) as caught:
        jaxcnn.apply(model, params, state, broken, tap=tap)
    assert "in layer outer/it: " in explain(caught.value)
    assert explain(caught.value).count("in layer") == 1


def test_a_random_layer_without_a_key_names_itself(entry):
    params, state = initial(entry)
    if entry.random:
        with pytest.raises(MissingKeyError, match="needs a random key"):
            jaxcnn.apply(entry.layer, params, state, inputs(entry), train=True)
    else:
        jaxcnn.apply(entry.layer, params, state, inputs(entry), train=True)


def test_the_second_call_does_not_trace_again(entry):
    params, state = initial(entry)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def run(params, state, x):
        return jaxcnn.apply(entry.layer, params, state, x, train=True, key=jax.random.key(0))

    _, state = run(params, state, inputs(entry))
    run(params, state, inputs(entry))


def test_a_description_may_be_a_static_argument(entry):
    params, state = initial(entry)
    run = jax.jit(jaxcnn.apply, static_argnums=0)
    chex.assert_trees_all_close(
        run(entry.layer, params, state, inputs(entry))[0],
        jaxcnn.apply(entry.layer, params, state, inputs(entry))[0],
        rtol=1e-5,
        atol=1e-5,
    )


def test_features_hold_every_map(entry):
    model = nn.chain(first=entry.layer, last=nn.identity)
    params, state = jaxcnn.init(model, jax.random.key(0), entry.shape)
    run = jax.jit(jaxcnn.features, static_argnums=0)
    maps = run(model, params, state, inputs(entry))
    y, _ = jaxcnn.apply(model, params, state, inputs(entry))
    np.testing.assert_allclose(maps["last"], y, rtol=1e-5, atol=1e-5)
    assert list(maps)[-1] == "last"
