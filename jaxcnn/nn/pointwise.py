"""Layers that work on each example or entry alone; only `ParametricRelu` has parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax

from jaxcnn import functional as F
from jaxcnn import initializers
from jaxcnn.functional.activation import check_alpha, check_slope
from jaxcnn.functional.noise import check_rate
from jaxcnn.initializers import Initializer
from jaxcnn.layer import Context, concise_repr
from jaxcnn.typing import Array, Key, Params, Spec, State


@dataclasses.dataclass(frozen=True)
class Pointwise:
    """A named function of the activations, such as `relu`.

    The name stands for the function in `repr`. Use a module-level function rather than a
    lambda: two lambdas are never equal, and then neither are two models that hold them.
    """

    name: str
    function: Callable[[Array], Array]

    def __repr__(self) -> str:
        return self.name

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        del key, x  # no parameters
        return {}, {}

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        del params, ctx  # no parameters, and the same while training
        return self.function(x), state


def _same(x: Array) -> Array:
    return x


identity = Pointwise("identity", _same)
"""The layer that changes nothing."""

relu = Pointwise("relu", F.relu)
"""`functional.relu` as a layer."""

tanh = Pointwise("tanh", F.tanh)
"""`functional.tanh` as a layer."""

sigmoid = Pointwise("sigmoid", F.sigmoid)
"""`functional.sigmoid` as a layer."""

gelu = Pointwise("gelu", F.gelu)
"""`functional.gelu` as a layer."""

ramp = Pointwise("ramp", F.ramp)
"""`functional.ramp` as a layer."""

softmax = Pointwise("softmax", F.softmax)
"""`functional.softmax` as a layer."""


@dataclasses.dataclass(frozen=True)
class LeakyRelu:
    """`max(slope x, x)` with a fixed slope; see `functional.leaky_relu`."""

    slope: float = 0.01

    def __post_init__(self) -> None:
        check_slope(self.slope)

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        del key, x  # no parameters
        return {}, {}

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        del params, ctx  # no parameters, and the same while training
        return F.leaky_relu(x, self.slope), state


@dataclasses.dataclass(frozen=True)
class ParametricRelu:
    """ReLU with a trained slope for each channel; see `functional.parametric_relu`.

    Attributes:
      slope_init: initial slopes; 0.25 in the paper.

    Parameters: `negative_slope` [C]. It is no kernel: weight decay, which would pull it
    towards ReLU, leaves it alone, as the paper asks.

    Differs from `flax.linen.PReLU`, which trains one slope and starts at 0.01; its parameter
    has the same name, and works here.

    Source: He et al. 2015; deck E.
    """

    slope_init: Initializer = initializers.Constant(0.25)
    __repr__ = concise_repr

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        return {"negative_slope": self.slope_init(key, (x.shape[-1],))}, {}

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        del ctx  # the same while training
        return F.parametric_relu(x, params["negative_slope"].astype(x.dtype)), state


@dataclasses.dataclass(frozen=True)
class Elu:
    """`x` above 0, `alpha (exp(x) - 1)` below; see `functional.elu`."""

    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_alpha(self.alpha)

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        del key, x  # no parameters
        return {}, {}

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        del params, ctx  # no parameters, and the same while training
        return F.elu(x, self.alpha), state


@dataclasses.dataclass(frozen=True)
class Flatten:
    """[N, ...] to [N, product of the rest], channels fastest."""

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        del key, x  # no parameters
        return {}, {}

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        del params, ctx  # no parameters, and the same while training
        return F.flatten(x), state


@dataclasses.dataclass(frozen=True)
class Dropout:
    """While training, drops the fraction `rate` of the entries; see `functional.dropout`.

    Evaluation passes everything through. Training needs a key.
    """

    rate: float
    __repr__ = concise_repr

    def __post_init__(self) -> None:
        check_rate(self.rate)

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        del key, x  # no parameters
        return {}, {}

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        del params  # none
        if not ctx.train:
            return x, state
        keys = ctx.example_keys("drops activations", x.shape[0])
        return jax.vmap(lambda row, key: F.dropout(row, key, rate=self.rate))(x, keys), state


@dataclasses.dataclass(frozen=True)
class SpatialDropout:
    """While training, drops the fraction `rate` of whole channels; see `spatial_dropout`.

    Evaluation passes everything through. Training needs a key.
    """

    rate: float
    __repr__ = concise_repr

    def __post_init__(self) -> None:
        check_rate(self.rate)

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        del key, x  # no parameters
        return {}, {}

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        del params  # none
        if not ctx.train:
            return x, state
        keys = ctx.example_keys("drops channels", x.shape[0])

        def drop(row: Array, key: Key) -> Array:
            return F.spatial_dropout(row[None], key, rate=self.rate)[0]

        return jax.vmap(drop)(x, keys), state
