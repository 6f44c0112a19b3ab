"""The persistent compilation cache, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import jax, jax.numpy as jnp
from jaxcnn.compilation import use_compile_cache
cache = use_compile_cache()
if cache is None:
    print("no cache")
else:
    jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((3, 3))).block_until_ready()
    print(cache.requests > 0, cache.hits == cache.requests, cache.hits, cache.rejected)
    print(cache.summary())
"""


def run(folder: Path) -> list[str]:
    environment = dict(os.environ, JAX_COMPILATION_CACHE_DIR=str(folder), JAX_PLATFORMS="cpu")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_the_second_process_loads_what_the_first_compiled(tmp_path):
    cold, warm = run(tmp_path / "cache"), run(tmp_path / "cache")
    assert cold[0].startswith("True False 0")
    assert cold[0].endswith(" 0")  # nothing was rejected: what was compiled was stored
    assert warm[0].startswith("True True")
    assert "programs loaded from" in warm[1]
    assert warm[1].endswith("cache")


def test_entries_that_cannot_be_used_are_counted(tmp_path):
    folder = tmp_path / "cache"
    run(folder)
    for entry in folder.glob("*-cache"):
        entry.write_bytes(b"not a program")
    counted, summary = run(folder)[-2:]
    assert not counted.endswith(" 0")
    assert "could not be used on this machine" in summary


def test_a_folder_that_others_may_write_is_not_used(tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(0o777)
    assert run(folder) == ["no cache"]
