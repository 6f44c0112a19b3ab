"""What outside a program changes its results: JAX's settings and environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import jax

VARIABLES = {
    "XLA_FLAGS": "options of the compiler",
    "JAX_PLATFORMS": "which kind of device is used",
    "JAX_NUM_CPU_DEVICES": "how many devices the CPU shows itself as",
    "JAX_ENABLE_X64": "64-bit numbers by default",
    "JAX_DEFAULT_MATMUL_PRECISION": "precision of products",
    "JAX_DEFAULT_PRNG_IMPL": "which random numbers a seed gives",
    "JAX_THREEFRY_PARTITIONABLE": "which random numbers a seed gives",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "how programs are compiled: slow, and other rounding",
    "JAX_DISABLE_JIT": "nothing is compiled: very slow, and other rounding",
    "JAX_DEBUG_NANS": "stops at the first NaN, in JAX's way: slow",
    "JAX_NUMPY_DTYPE_PROMOTION": "what mixed dtypes become",
    "JAX_NUMPY_RANK_PROMOTION": "whether shapes of different rank may meet",
    "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "how CPU devices of several processes exchange data",
    "NVIDIA_TF32_OVERRIDE": "precision of products on NVIDIA GPUs",
    "CUDA_VISIBLE_DEVICES": "which GPUs are used",
}
"""Environment variables that change results, and what they change."""

_CONFIG = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_disable_most_optimizations",
    "jax_disable_jit",
)


def variables(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Those of `VARIABLES` that are set, with their values."""
    return {name: environment[name] for name in VARIABLES if environment.get(name)}


def jax_settings() -> dict[str, Any]:
    """JAX's settings that change results, as they are now: plain JSON values."""
    return {name: getattr(jax.config, name, None) for name in _CONFIG}
