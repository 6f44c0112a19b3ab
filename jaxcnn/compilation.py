"""JAX's persistent compilation cache: a program compiled once is loaded the next time."""

from __future__ import annotations

import dataclasses
import os
import stat
from pathlib import Path
from typing import Any

import jax
import jax.monitoring

from jaxcnn.data.cache import cache_folder


@dataclasses.dataclass
class CompileCache:
    """The cache in use, and what it was good for so far in this process.

    Attributes:
      folder: where compiled programs are kept.
      requests: programs that were asked for.
      hits: those that were found and loaded.
    """

    folder: Path
    requests: int = 0
    hits: int = 0
    _files_before: int = 0

    def __post_init__(self) -> None:
        self._files_before = self._files()

    def _files(self) -> int:
        return sum(1 for name in os.listdir(self.folder) if name.endswith("-cache"))

    def _count(self, event: str, **details: Any) -> None:
        del details
        if event == "/jax/compilation_cache/compile_requests_use_cache":
            self.requests += 1
        elif event == "/jax/compilation_cache/cache_hits":
            self.hits += 1

    @property
    def rejected(self) -> int:
        """Programs that were in the folder and yet compiled anew: neither loaded nor stored.

        JAX refuses entries that were compiled for other features of the processor than it
        sees now; on some machines it refuses its own.
        """
        return max(0, self.requests - self.hits - (self._files() - self._files_before))

    def summary(self) -> str:
        """One line for people: "3 of 5 programs loaded from FOLDER"."""
        text = f"{self.hits} of {self.requests} programs loaded from {self.folder}"
        if self.rejected:
            text += (
                f"; {self.rejected} in it could not be used on this machine and were compiled "
                "again: remove the folder once, and if this stays, the cache does not work here"
            )
        return text


def use_compile_cache() -> CompileCache | None:
    """Turns the cache on, in `$JAX_COMPILATION_CACHE_DIR` or jaxcnn's own cache folder.

    Call it before the first array is made. What is in the folder is executed when it is
    loaded, so it must belong to the user, and nobody else may write to it.

    Returns:
      The cache, which counts hits from now on, or None if the folder cannot be used;
      training then works without one.
    """
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    folder = Path(chosen) if chosen else cache_folder() / "compiled"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return None
        cache = CompileCache(folder)
    except OSError:
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    jax.monitoring.register_event_listener(cache._count)
    return cache
