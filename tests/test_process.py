"""Process-wide settings, in processes of their own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from jaxcnn import process

# Frees 64 MiB and reads how much of it the process still holds.
SCRIPT = """
import ctypes, os, sys
from jaxcnn.process import keep_freed_memory
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
if sys.argv[1] == "keep":
    keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
before = resident()
block = libc.malloc(64 << 20)
ctypes.memset(block, 1, 64 << 20)
libc.free(block)
print(resident() - before > 32 << 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_memory_is_kept_only_where_it_was_asked_for():
    def run(what: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, what], capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()

    assert run("as it is") == ["False"]
    said, held = run("keep")
    assert "effect: fewer page faults" in said
    assert "cost: this process holds its peak memory" in said
    assert held == "True"


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    said: list[str] = []
    assert process.keep_freed_memory(said.append) is False
    assert said == ["memory: nothing set, for the C library is unknown, not glibc."]
