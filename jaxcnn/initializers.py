"""Initial values of parameters: frozen, comparable descriptions that are called.

`initializer(key, shape, dtype) -> array`. Kernels are laid out `[..., in, out]`, so
fan-in is the product of all axes but the last, fan-out the receptive field times the
last. The draws are those of `jax.nn.initializers`.

Kernels must not start at zero or at any constant: all units of a layer would then compute the
same and, unless a later layer tells them apart, get the same gradient and stay copies of each
other for ever (decks A and E). Layers refuse it by `check_kernel`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, get_args

import jax
import jax.numpy as jnp

from jaxcnn.errors import ConfigError, ShapeError
from jaxcnn.layer import concise_repr
from jaxcnn.typing import Array, Key

Mode = Literal["fan_in", "fan_out", "fan_avg"]
Distribution = Literal["truncated_normal", "normal", "uniform"]


class Initializer(Protocol):
    """Makes an array of `shape` and `dtype` from a key."""

    def __call__(self, key: Key, shape: Sequence[int], dtype: Any = jnp.float32, /) -> Array: ...


def _check_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{name}={value!r} is not allowed: expected a positive, finite number.")


def _list(names: Any) -> str:
    return ", ".join(names)


@dataclasses.dataclass(frozen=True)
class VarianceScaling:
    """Variance `scale / fan`, where `fan` is the kernel's fan-in, fan-out or their mean.

    Raises:
      ConfigError: a setting is out of range.
      ShapeError: when called for an array that is no kernel and so has no fan.
    """

    scale: float
    mode: Mode
    distribution: Distribution

    def __post_init__(self) -> None:
        _check_positive("scale", self.scale)
        if self.mode not in get_args(Mode):
            raise ConfigError(f"mode={self.mode!r} is unknown: use one of {_list(get_args(Mode))}.")
        if self.distribution not in get_args(Distribution):
            raise ConfigError(
                f"distribution={self.distribution!r} is unknown: use one of "
                f"{_list(get_args(Distribution))}."
            )

    def __call__(self, key: Key, shape: Sequence[int], dtype: Any = jnp.float32, /) -> Array:
        if len(shape) < 2:
            raise ShapeError(
                f"an array of shape {list(shape)} has no fan-in and fan-out: expected "
                "[..., in, out].\nFor a bias use `zeros`, `Constant`, `Normal` or `Uniform`."
            )
        draw = jax.nn.initializers.variance_scaling(self.scale, self.mode, self.distribution)
        return draw(key, tuple(shape), dtype)


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Uniform in [-bound, bound): variance `bound^2 / 3`. Source: deck E, `U[-b, b]`."""

    bound: float

    def __post_init__(self) -> None:
        _check_positive("bound", self.bound)

    def __call__(self, key: Key, shape: Sequence[int], dtype: Any = jnp.float32, /) -> Array:
        return jax.random.uniform(key, tuple(shape), dtype, -self.bound, self.bound)


@dataclasses.dataclass(frozen=True)
class Normal:
    """Normal with mean 0 and variance `stddev^2`. Source: deck E."""

    stddev: float

    def __post_init__(self) -> None:
        _check_positive("stddev", self.stddev)

    def __call__(self, key: Key, shape: Sequence[int], dtype: Any = jnp.float32, /) -> Array:
        return jax.nn.initializers.normal(self.stddev)(key, tuple(shape), dtype)


@dataclasses.dataclass(frozen=True)
class TruncatedNormal:
    """Normal cut at two deviations on both sides; the variance *after* the cut is `stddev^2`.

    So no value is beyond `2.27 stddev`. In `jax.nn.initializers.truncated_normal` and in
    PyTorch, `stddev` is that before the cut, and the result's is 0.88 of it.
    """

    stddev: float

    def __post_init__(self) -> None:
        _check_positive("stddev", self.stddev)

    def __call__(self, key: Key, shape: Sequence[int], dtype: Any = jnp.float32, /) -> Array:
        before = self.stddev / _CUT_DEVIATION
        return jax.nn.initializers.truncated_normal(before)(key, tuple(shape), dtype)


_CUT_DEVIATION = math.sqrt(
    1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2))
)  # of the standard normal cut at -2 and 2: `1 - 2 c phi(c) / (2 Phi(c) - 1)` with c = 2


@dataclasses.dataclass(frozen=True)
class Constant:
    """Every entry is `value`. For biases and scales; a constant kernel cannot learn.

    Attributes:
      value: of every entry.
      allow_kernel: lets it through `check_kernel`. Right only where nothing has to tell units
        apart: a single layer (logistic regression), or a last layer above a random one.
    """

    value: float
    allow_kernel: bool = False
    __repr__ = concise_repr

    def __call__(self, key: Key, shape: Sequence[int], dtype: Any = jnp.float32, /) -> Array:
        del key  # nothing random here
        return jnp.full(shape, self.value, dtype)


lecun_normal = VarianceScaling(1.0, "fan_in", "truncated_normal")
"""Variance 1/fan_in: keeps the variance of linear and tanh units (LeCun et al. 1998)."""

lecun_uniform = VarianceScaling(1.0, "fan_in", "uniform")
"""Variance 1/fan_in, bound `sqrt(3 / fan_in)`."""

he_normal = VarianceScaling(2.0, "fan_in", "truncated_normal")
"""Variance 2/fan_in: keeps the variance through ReLU (He et al. 2015)."""

he_uniform = VarianceScaling(2.0, "fan_in", "uniform")
"""Variance 2/fan_in, bound `sqrt(6 / fan_in)`."""

glorot_normal = VarianceScaling(1.0, "fan_avg", "truncated_normal")
"""Variance 2/(fan_in + fan_out)."""

glorot_uniform = VarianceScaling(1.0, "fan_avg", "uniform")
"""Variance 2/(fan_in + fan_out) (Glorot and Bengio 2010)."""

zeros = Constant(0.0)
ones = Constant(1.0)

_READY: dict[str, Initializer] = {
    "glorot_normal": glorot_normal,
    "glorot_uniform": glorot_uniform,
    "he_normal": he_normal,
    "he_uniform": he_uniform,
    "lecun_normal": lecun_normal,
    "lecun_uniform": lecun_uniform,
    "ones": ones,
    "zeros": zeros,
}
_WITH_SETTING: dict[str, tuple[Callable[[float], Initializer], str]] = {
    "constant": (Constant, "value"),
    "normal": (Normal, "stddev"),
    "truncated_normal": (TruncatedNormal, "stddev"),
    "uniform": (Uniform, "bound"),
}


def by_name(name: str, **settings: float) -> Initializer:
    """The initializer called `name`.

    | names | settings |
    | - | - |
    | glorot_normal, glorot_uniform, he_normal, he_uniform, lecun_normal, lecun_uniform | |
    | zeros, ones | |
    | constant | value |
    | normal, truncated_normal | stddev |
    | uniform | bound |

    Raises:
      ConfigError: the name is unknown, or the settings are not those of the table.

    >>> by_name("he_normal") == he_normal
    True
    >>> by_name("uniform", bound=0.05)
    Uniform(bound=0.05)
    """
    if name in _READY:
        if settings:
            raise ConfigError(f"initializer {name!r} takes no settings, got {_list(settings)}.")
        return _READY[name]
    if name not in _WITH_SETTING:
        names = _list(sorted([*_READY, *_WITH_SETTING]))
        raise ConfigError(f"initializer {name!r} is unknown: use one of {names}.")
    make, setting = _WITH_SETTING[name]
    if list(settings) != [setting]:
        raise ConfigError(
            f"initializer {name!r} takes exactly {setting!r}, got {_list(settings) or 'nothing'}."
        )
    return make(settings[setting])


def check_kernel(initializer: Initializer) -> None:
    """Raises if `initializer` gives every entry of a kernel the same value.

    To be called where a kernel is made. `Constant(value, allow_kernel=True)` passes.

    Raises:
      ConfigError: it does.

    >>> check_kernel(he_normal)
    >>> check_kernel(Constant(0.0, allow_kernel=True))
    """
    constant = isinstance(initializer, Constant) and not initializer.allow_kernel
    if constant or initializer in (jax.nn.initializers.zeros, jax.nn.initializers.ones):
        name = repr(initializer) if constant else getattr(initializer, "__name__", "constant")
        raise ConfigError(
            f"kernel_init={name} is not allowed: all units of the layer would start as copies of "
            "each other, get equal gradients and stay copies.\n"
            "Use a random one such as `initializers.he_normal`, "
            "or say that you mean it: `initializers.Constant(value, allow_kernel=True)`."
        )
