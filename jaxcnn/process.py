"""Settings of the whole process. Nothing here happens unless it is called."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable

# Numbers of glibc's mallopt.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8


def keep_freed_memory(say: Callable[[str], None] = print) -> bool:
    """Makes the C library keep the memory that programs free, for their next call.

    XLA allocates one block for each call of a compiled program. glibc returns blocks above 32
    MiB to the system and gets them back page by page: a fifth of the time of a training step
    on CPU, where a call makes one step; little, where it makes many (`steps_per_call`).

    Call it before the first array is made, as it works on threads that start later. It holds
    for the whole process, other libraries included: its memory never shrinks, and all threads
    share one arena. Linux with glibc only.

    Returns:
      Whether the settings were accepted; says so, with the cost, through `say`.
    """
    library, _ = platform.libc_ver()
    if library != "glibc":
        say(f"memory: nothing set, for the C library is {library or 'unknown'}, not glibc.")
        return False
    mallopt = ctypes.CDLL(None).mallopt
    wanted = ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, 64 << 20))
    refused = [option for option, value in wanted if mallopt(option, value) != 1]
    say(
        "memory: freed blocks are kept (effect: fewer page faults in each call; cost: this "
        "process holds its peak memory until it ends)"
        if not refused
        else "memory: glibc refused the settings."
    )
    return not refused
