"""JAX's persistent compilation cache: a program compiled once is loaded the next time."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import jax

from jaxcnn.data.cache import cache_folder


def use_compile_cache() -> Path | None:
    """Turns the cache on, in `$JAX_COMPILATION_CACHE_DIR` or jaxcnn's own cache folder.

    Call it before the first array is made. What is in the folder is executed when it is
    loaded, so it must belong to the user, and nobody else may write to it.

    Returns:
      The folder, or None if it cannot be used; training then works without a cache.
    """
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    folder = Path(chosen) if chosen else cache_folder() / "compiled"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return None
    except OSError:
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder
