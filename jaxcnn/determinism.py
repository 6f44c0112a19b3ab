"""The same bits on every run: what a GPU needs for that, and a CPU has anyway.

On a CPU XLA's programs add up in a fixed order, so equal seeds, settings and machines give equal
bits. On a GPU three things do not repeat: sums by atomic additions, some of cuDNN's
convolutions, and autotuning, which takes the kernel that was fastest this time. XLA's flag
`xla_gpu_deterministic_ops` excludes the first two, turns the third off, and refuses to compile
what has no other way: the gradient of a window maximum. For that there is a lowering of our own.

Nothing here happens unless it is called. On other machines, with other versions or numbers of
devices, results differ by rounding all the same.

Source: OpenXLA, "Determinism (GPU)"; the flags' descriptions in its `xla.proto`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager

import jax

from jaxcnn.errors import ConfigError
from jaxcnn.functional import lowering

FLAG = "xla_gpu_deterministic_ops"
"""XLA's flag for equal bits from run to run; it implies `xla_gpu_exclude_nondeterministic_ops`."""


def demand(say: Callable[[str], None] = print) -> None:
    """Sets what this process needs so that its programs repeat to the bit.

    Call it before the first array is made, and compile within `operations()`.

    Args:
      say: is told what was set, and what it costs.

    Raises:
      ConfigError: devices are in use already, XLA_FLAGS say the opposite, or it is not known
        what this kind of device needs.
    """
    if _platforms() != "cpu":
        flags = os.environ.get("XLA_FLAGS", "")
        wanted = with_flag(flags)
        if wanted != flags and _backend_started() and jax.default_backend() != "cpu":
            raise ConfigError(
                "deterministic: the GPU is in use already, and XLA has read its flags.\n"
                f"Ask for it before the first array is made, or set XLA_FLAGS=--{FLAG}=true."
            )
        os.environ["XLA_FLAGS"] = wanted  # read when the first device starts
    say(explanation(jax.default_backend()))


def with_flag(flags: str) -> str:
    """`flags`, the value of XLA_FLAGS, with `FLAG` set.

    Raises:
      ConfigError: they say the opposite.

    >>> with_flag("--xla_dump_to=here")
    '--xla_dump_to=here --xla_gpu_deterministic_ops=true'
    """
    found = re.findall(rf"--{FLAG}(?:=(\S*))?(?=\s|$)", flags)
    if any(value.lower() not in ("", "true", "1") for value in found):
        raise ConfigError(
            f"deterministic: XLA_FLAGS={flags!r} says the opposite.\nTake --{FLAG} out of it."
        )
    return flags if found else f"{flags} --{FLAG}=true".strip()


def explanation(platform: str) -> str:
    """What it means on a kind of device, in one line.

    Raises:
      ConfigError: that is not known.
    """
    if platform == "cpu":
        return "deterministic: nothing to set, a CPU's programs repeat to the bit"
    if platform == "gpu":
        return (
            f"deterministic: --{FLAG}=true, max pooling by comparison (effect: runs repeat to the "
            "bit on this GPU; cost: slower, kernels are not tuned)"
        )
    raise ConfigError(
        f"deterministic: it is not known what the platform {platform!r} needs: use a CPU or a GPU."
    )


def operations() -> AbstractContextManager[None]:
    """Within it, operations are lowered to what repeats; see `functional.lowering`."""
    return lowering("deterministic")


def refusal(error: Exception) -> ConfigError | None:
    """The error to raise instead of XLA's, if that refused an operation that does not repeat.

    Returns:
      An error that names the operation, or None if `error` is about something else.
    """
    text = str(error)
    if "determinis" not in text.lower():
        return None
    named = re.search(r"(?:select-and-scatter|scatter|convolution|custom-call)[\w.-]*", text)
    operation = named.group() if named else "an operation"
    scope = re.search(r'op_name="([^"]+)"', text)
    where = f" (in {scope.group(1)})" if scope else ""
    return ConfigError(
        f"deterministic: XLA has no way to compute {operation}{where} that repeats here.\n"
        "Leave --deterministic out, or replace the layer it comes from.\n"
        f"XLA says: {text.strip().splitlines()[0]}"
    )


def _platforms() -> str | None:
    """What JAX_PLATFORMS, or a call of `jax.config.update`, asks for."""
    platforms: str | None = getattr(jax.config, "jax_platforms", None)
    return platforms


def _backend_started() -> bool:
    """Whether devices are in use, after which XLA's flags have no effect."""
    from jax._src import xla_bridge

    return xla_bridge.backends_are_initialized()
