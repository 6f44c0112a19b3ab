"""One program on many devices and many hosts.

- `plan`: one training step by `jit`, `shard_map` or `pmap`;
- `cluster`: which process of how many this is, read from a launcher's variables;
- `start`: joining the processes, waiting for each other, errors that explain themselves;
- `agree`: what processes tell each other: stops, settings, what process 0 has read.
"""

from jaxcnn.parallel.agree import (
    Vote,
    all_or_none,
    from_main,
    gather_texts,
    least,
    on_main,
    require_same,
)
from jaxcnn.parallel.cluster import Cluster, detect, device_share
from jaxcnn.parallel.plan import AXIS, Parallel, Plan, plan, replicate, unreplicate
from jaxcnn.parallel.start import ClusterError, barrier, init_distributed, is_main

__all__ = [
    "AXIS",
    "Cluster",
    "ClusterError",
    "Parallel",
    "Plan",
    "Vote",
    "all_or_none",
    "barrier",
    "detect",
    "device_share",
    "from_main",
    "gather_texts",
    "init_distributed",
    "is_main",
    "least",
    "on_main",
    "plan",
    "replicate",
    "require_same",
    "unreplicate",
]
