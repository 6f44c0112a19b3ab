"""Which lowering runs: by platform and shape, or by name."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax

from jaxcnn.errors import ConfigError
from jaxcnn.functional.lowering.geometry import Geometry
from jaxcnn.typing import Array

ConvImpl: TypeAlias = Literal[
    "auto", "xla", "canonical", "gemm", "winograd", "pointwise", "depthwise"
]
PoolImpl: TypeAlias = Literal["auto", "xla", "mask"]
ActImpl: TypeAlias = Literal["auto", "xla", "gemm"]
FusedImpl: TypeAlias = Literal["auto", "xla", "canonical", "gemm", "block"]
Setting: TypeAlias = Literal["auto", "xla", "deterministic"]

# Part of the key of JAX's caches: a function that was compiled under one setting is compiled
# anew under another.
_setting: Any = jax.make_user_context("auto")


def lowering(setting: Setting) -> AbstractContextManager[None]:
    """Within it, operations with `impl="auto"` are computed the given way.

    Args:
      setting: "auto", by platform and shape; "xla", all by XLA's own operations, whose
        gradients are JAX's. Forward-mode differentiation of a network on CPU needs "xla".
        "deterministic", as "auto", but without what a GPU adds up in an order of the moment:
        the gradient of XLA's max pooling (`jaxcnn.determinism`).

    >>> from jaxcnn import functional as F
    >>> x = jax.numpy.arange(16.0).reshape(1, 4, 4, 1)
    >>> with F.lowering("xla"):
    ...     _, tangent = jax.jvp(F.max_pool, (x,), (x,))
    """
    if setting not in get_args(Setting):
        raise ConfigError(
            f"lowering {setting!r} is not allowed: use 'auto', 'xla' or 'deterministic'."
        )
    context: AbstractContextManager[None] = _setting(setting)
    return context


class Choice(NamedTuple):
    """One decision: which operation was lowered how; `layers`, by path, if several became one."""

    operation: str
    lowering: str
    layers: tuple[str, ...] = ()


_record: ContextVar[list[Choice] | None] = ContextVar("lowerings", default=None)


@contextmanager
def recorded() -> Iterator[list[Choice]]:
    """The choices that are made while something is traced within it, in order."""
    choices: list[Choice] = []
    token = _record.set(choices)
    try:
        yield choices
    finally:
        _record.reset(token)


def note(operation: str, name: str, layers: tuple[str, ...] = ()) -> None:
    """Adds a choice to the record, if one is kept."""
    choices = _record.get()
    if choices is not None:
        choices.append(Choice(operation, name, layers))


def on_cpu() -> bool:
    """Whether programs are traced for the CPU."""
    if _setting.value == "xla":
        return False
    device = getattr(jax.config, "jax_default_device", None)
    platform: str = getattr(device, "platform", device) or jax.default_backend()
    return platform == "cpu"


_FEW = 49  # cells of a window: more make a long program


def conv_lowering(impl: ConvImpl, x: Array, kernel: Array, geometry: Geometry) -> str:
    """The lowering of a convolution."""
    if impl == "auto":
        if not on_cpu():
            return "xla"
        if pointwise_fits(kernel, geometry):
            return "pointwise"
        if depthwise_fits(x, kernel, geometry) and math.prod(kernel.shape[:-2]) <= _FEW:
            return "depthwise"
        if winograd_fits(kernel, geometry) and _winograd_pays(x, kernel):
            return "winograd"
        if gemm_fits(kernel, geometry) and _gemm_pays(kernel, geometry):
            return "gemm"
        return "canonical"
    _check(impl, ("xla", "canonical", "gemm", "winograd", "pointwise", "depthwise"))
    if impl == "gemm" and not gemm_fits(kernel, geometry):
        raise ConfigError(
            f"impl='gemm' cannot compute {geometry} with a kernel {list(kernel.shape)}: it needs "
            "two spatial axes, and dilation and groups 1."
        )
    if impl == "winograd" and not winograd_fits(kernel, geometry):
        raise ConfigError(
            f"impl='winograd' cannot compute {geometry} with a kernel {list(kernel.shape)}: it "
            "needs a 3x3 kernel, and stride, dilation and groups 1."
        )
    if impl == "pointwise" and not pointwise_fits(kernel, geometry):
        raise ConfigError(
            f"impl='pointwise' cannot compute {geometry} with a kernel {list(kernel.shape)}: it "
            "needs windows of one cell, no padding, and groups 1."
        )
    if impl == "depthwise" and not depthwise_fits(x, kernel, geometry):
        raise ConfigError(
            f"impl='depthwise' cannot compute {geometry} with a kernel {list(kernel.shape)}: it "
            "needs as many groups as input channels, and as many output channels."
        )
    return impl


def _winograd_pays(x: Array, kernel: Array) -> bool:
    """Many channels on small images: the products outweigh the transformations."""
    return min(kernel.shape[2:]) >= 64 and x.shape[1] * x.shape[2] <= 4 * min(kernel.shape[2:])


def _gemm_pays(kernel: Array, geometry: Geometry) -> bool:
    """Large strided kernels on few channels, as in AlexNet's first layer."""
    return min(geometry.strides) >= 2 and kernel.shape[2] <= 4 and math.prod(kernel.shape[:2]) >= 25


def pool_lowering(impl: PoolImpl, windows: tuple[int, ...]) -> str:
    """The lowering of max pooling."""
    if impl == "auto":
        if _setting.value == "deterministic" and not on_cpu():
            return "mask"  # XLA's gradient scatters, which GPUs do in no fixed order
        # A slice for each cell: pays off as long as there are few.
        return "mask" if on_cpu() and math.prod(windows) <= 16 else "xla"
    _check(impl, ("xla", "mask"))
    return impl


def fused_lowering(impl: FusedImpl, x: Array, kernel: Array, geometry: Geometry) -> str:
    """The lowering of convolution, ReLU and 2x2 max pooling."""
    fits = kernel.ndim == 4 and geometry.dense
    even = fits and all(n % 2 == 0 for n in geometry.output(x.shape[1:3], kernel.shape[:2]))
    if impl == "auto":
        cells = math.prod(kernel.shape[:-1])
        if not on_cpu():
            return "xla"
        if even and cells <= 400 and min(kernel.shape[:2]) >= 4:
            return "block"
        return "gemm" if fits and cells <= 256 else "canonical"
    _check(impl, ("xla", "canonical", "gemm", "block"))
    if (impl == "gemm" and not fits) or (impl == "block" and not even):
        raise ConfigError(
            f"impl={impl!r} cannot compute {geometry} with a kernel {list(kernel.shape)}: it needs "
            "two spatial axes, stride, dilation and groups 1, and for 'block' even sizes."
        )
    return impl


def act_lowering(impl: ActImpl, x: Array, kernel: Array, geometry: Geometry) -> str:
    """The lowering of convolution, any activation and 2x2 pooling."""
    fits = kernel.ndim == 4 and geometry.dense
    fits = fits and all(n % 2 == 0 for n in geometry.output(x.shape[1:3], kernel.shape[:2]))
    if impl == "auto":
        pays = on_cpu() and fits and math.prod(kernel.shape[:-1]) <= 256
        return "gemm" if pays else "xla"
    _check(impl, ("xla", "gemm"))
    if impl == "gemm" and not fits:
        raise ConfigError(
            f"impl='gemm' cannot compute {geometry} with a kernel {list(kernel.shape)}: it needs "
            "two spatial axes, stride, dilation and groups 1, and even sizes."
        )
    return impl


def gemm_fits(kernel: Array, geometry: Geometry) -> bool:
    """Whether the convolution is of the kind that one matrix product computes."""
    return kernel.ndim == 4 and set(geometry.dilations) == {1} and geometry.groups == 1


def pointwise_fits(kernel: Array, geometry: Geometry) -> bool:
    """Whether each output sees one cell of the input, and all of its channels."""
    return (
        math.prod(kernel.shape[:-2]) == 1
        and not any(map(any, geometry.pads))
        and geometry.groups == 1
    )


def depthwise_fits(x: Array, kernel: Array, geometry: Geometry) -> bool:
    """Whether each output channel sees one input channel, its own."""
    return geometry.groups == x.shape[-1] == kernel.shape[-1] > 1


def winograd_fits(kernel: Array, geometry: Geometry) -> bool:
    """Whether the convolution is of the kind that Winograd's tiles compute."""
    return kernel.shape[:-2] == (3, 3) and geometry.dense


def _check(impl: str, allowed: tuple[str, ...]) -> None:
    if impl not in allowed:
        names = ", ".join(map(repr, ("auto", *allowed)))
        raise ConfigError(f"impl={impl!r} is not allowed: use {names}.")
