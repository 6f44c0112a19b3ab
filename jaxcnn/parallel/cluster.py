"""Which process of how many am I? Read from the variables that launchers set.

`detect` is a pure function of the environment: it opens no connection, starts no device
and imports no JAX. It asks in this order, and the first that applies answers:

1. our own variables `JAXCNN_COORDINATOR`, `JAXCNN_PROCESSES`, `JAXCNN_PROCESS`, all three;
2. `mpirun` of Open MPI 4 or 5. It comes before SLURM, as it does in JAX: inside a SLURM job
   `mpirun` starts its daemons with `srun`, so the SLURM variables that its processes inherit
   describe the daemons;
3. SLURM, in a step started by `srun`;
4. Open MPI 5 variables without the mark of its launcher;
5. a Kubernetes Job with `completionMode: Indexed`.

`JAXCNN_COORDINATOR` on its own completes or corrects what a launcher says. JAX detects
clusters too, but JAX 0.10 and 0.11 fall short in ways that comments below name.
"""

from __future__ import annotations

import dataclasses
import re
import zlib
from collections.abc import Mapping

from jaxcnn.errors import ConfigError

COORDINATOR = "JAXCNN_COORDINATOR"
PROCESSES = "JAXCNN_PROCESSES"
PROCESS = "JAXCNN_PROCESS"
_OWN = (COORDINATOR, PROCESSES, PROCESS)

_SLURM_STEP = ("SLURM_STEP_NODELIST", "SLURM_STEP_ID")  # which srun sets, and sbatch does not
_OPEN_MPI_4 = "OMPI_MCA_orte_hnp_uri"
_OPEN_MPI_5 = "PRTE_LAUNCHED"

# Where ports that are derived from a job's number lie. Linux takes the ports of outgoing
# connections from 32768-60999, Kubernetes its node ports from 30000-32767.
_FIRST_PORT = 61440
_PORTS = 4096


@dataclasses.dataclass(frozen=True)
class Cluster:
    """One process's place among all processes.

    Attributes:
      source: who said so, for messages.
      coordinator: "HOST:PORT" on which process 0 listens; the same text in every process.
      processes: how many there are.
      process: the number of this one, from 0.
      local_process: its number among those on the same host, or None if unknown.
      local_processes: how many run on this host, or None if unknown.
    """

    source: str
    coordinator: str
    processes: int
    process: int
    local_process: int | None = None
    local_processes: int | None = None


def detect(environ: Mapping[str, str]) -> Cluster | None:
    """Reads this process's place from the variables of a launcher.

    Args:
      environ: the environment, as `os.environ`.

    Returns:
      The cluster, or None if no launcher is recognised: then there is one process.

    Raises:
      ConfigError: a variable is missing, is not a number or contradicts another.

    Example:
      >>> detect({"SLURM_JOB_ID": "70", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "4",
      ...         "SLURM_PROCID": "3", "SLURM_JOB_NODELIST": "node[003-006]"})
      ... # doctest: +ELLIPSIS
      Cluster(source='SLURM', coordinator='node003:62560', processes=4, process=3, ...)
    """
    given = [name for name in _OWN if environ.get(name)]
    if len(given) == len(_OWN):
        return _cluster(environ, "JAXCNN variables", environ[COORDINATOR], PROCESSES, PROCESS)
    launcher = _launcher(environ)
    completes = {COORDINATOR, PROCESSES} if launcher == "Kubernetes" else {COORDINATOR}
    if given and (launcher is None or not set(given) <= completes):
        missing = " and ".join(name for name in _OWN if name not in given)
        raise ConfigError(
            f"{' and '.join(given)} set, but not {missing}; all three are needed together.\n"
            f"Set {missing} as well, or call init_distributed(coordinator=..., processes=..., "
            "process=...)."
        )
    if launcher == "Open MPI 4":
        return _open_mpi(environ, launcher, environ.get(COORDINATOR) or _hnp_address(environ))
    if launcher == "Open MPI 5":
        return _open_mpi(environ, launcher, environ.get(COORDINATOR) or _one_host(environ))
    if launcher == "SLURM":
        return _slurm(environ)
    if launcher == "Kubernetes":
        return _kubernetes(environ)
    return None


def device_share(cluster: Cluster, environ: Mapping[str, str]) -> tuple[int, ...] | None:
    """Which of the GPUs that it sees a process should use.

    JAX's own rule under SLURM and Open MPI is "number `local_process`", always. That leaves
    three of four GPUs idle when there is one process per host, and names a GPU that is not
    there when the launcher has given each process its own (`srun --gpus-per-task`): see
    https://github.com/jax-ml/jax/issues/16788 and https://github.com/jax-ml/jax/issues/28194.
    Here the GPUs that all processes of a host see are divided evenly among them.

    Args:
      cluster: the process's place.
      environ: the environment.

    Returns:
      Positions in the list of visible GPUs, or None for all of them. Without GPUs the
      answer has no effect.

    Raises:
      ConfigError: the GPUs cannot be divided evenly.
    """
    index, count = cluster.local_process, cluster.local_processes
    if index is None or count is None or count == 1 or environ.get("JAX_LOCAL_DEVICE_IDS"):
        return None
    if environ.get("SLURM_GPUS_PER_TASK") or environ.get("SLURM_GPU_BIND", "none") != "none":
        return None  # SLURM has shown this process its own GPUs only
    name = next(
        (n for n in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES") if environ.get(n)), None
    )
    if name is None:
        return (index,)  # how many there are is unknown before the devices start
    seen = len(environ[name].split(","))
    if seen == 1:
        return None
    if seen % count:
        raise ConfigError(
            f"{count} processes on this host see {seen} GPUs ({name}={environ[name]!r}), which "
            "cannot be divided evenly.\nStart a divisor of that many processes per host, or say "
            "which GPUs this one uses: init_distributed(local_devices=[...])."
        )
    share = seen // count
    return tuple(range(index * share, (index + 1) * share))


def split_address(address: str) -> tuple[str, int]:
    """Splits "HOST:PORT" or "[IPv6]:PORT".

    Raises:
      ConfigError: it is neither.

    Example:
      >>> split_address("[fe80::1]:61440")
      ('fe80::1', 61440)
    """
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s:\[\]/]+)):([0-9]{1,5})", address)
    if found is None or not 1 <= int(found[3]) <= 65535:
        raise ConfigError(
            f"coordinator {address!r} is not an address.\nGive HOST:PORT with a port from 1 to "
            "65535, such as node003:61500 or [fe80::1]:61500."
        )
    return found[1] or found[2], int(found[3])


def _launcher(environ: Mapping[str, str]) -> str | None:
    if _OPEN_MPI_4 in environ:
        return "Open MPI 4"
    if _OPEN_MPI_5 in environ:
        return "Open MPI 5"
    if "SLURM_JOB_ID" in environ and any(name in environ for name in _SLURM_STEP):
        return "SLURM"
    if "OMPI_COMM_WORLD_RANK" in environ and any(n.startswith("PMIX_SERVER_URI") for n in environ):
        return "Open MPI 5"
    # Indexed jobs also number independent runs: only our variables say that these belong together.
    pod = "KUBERNETES_SERVICE_HOST" in environ and "JOB_COMPLETION_INDEX" in environ
    if pod and (environ.get(COORDINATOR) or environ.get(PROCESSES)):
        return "Kubernetes"
    return None


def _slurm(environ: Mapping[str, str]) -> Cluster:
    nodes = next(
        (n for n in ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST") if environ.get(n)),
        "SLURM_JOB_NODELIST",
    )
    host = _first_host(_text(environ, nodes, "SLURM"), nodes)
    # Sixteen ports a job: neighbouring jobs, and the steps of one job, get different ones.
    step = _number(environ, "SLURM_STEP_ID", "SLURM") if environ.get("SLURM_STEP_ID") else 0
    port = _derived_port(16 * _number(environ, "SLURM_JOB_ID", "SLURM") + step % 16)
    local = _number(environ, "SLURM_LOCALID", "SLURM") if environ.get("SLURM_LOCALID") else None
    return _cluster(
        environ,
        "SLURM",
        environ.get(COORDINATOR) or f"{host}:{port}",
        "SLURM_NTASKS",
        "SLURM_PROCID",
        local,
        _tasks_here(environ),
    )


def _first_host(nodes: str, name: str) -> str:
    """The first host of a list such as `node[003-005,9],login1` or `a-b[1,3]-x`.

    JAX 0.10 and 0.11 stop at the first number and lose what follows the bracket.
    """
    first = re.match(r"(?:[^,\[\]]|\[[^\[\]]*\])+(?=,|$)", nodes)
    host = re.sub(r"\[([0-9]+)(?:[-,][0-9,-]+)?\]", r"\1", first[0]) if first else ""
    if not re.fullmatch(r"[\w.-]+", host, re.ASCII):
        raise ConfigError(
            f"{name}={nodes!r}: no first host can be read from it; expected a list such as "
            f"node[003-005,9].\nSet {COORDINATOR}=HOST:PORT, with the host of process 0."
        )
    return host


def _tasks_here(environ: Mapping[str, str]) -> int | None:
    """How many tasks of the step run on this host, from a list such as `4(x2),3`."""
    if not (environ.get("SLURM_STEP_TASKS_PER_NODE") and environ.get("SLURM_NODEID")):
        return None
    node = _number(environ, "SLURM_NODEID", "SLURM")
    for part in environ["SLURM_STEP_TASKS_PER_NODE"].split(","):
        found = re.fullmatch(r"([0-9]+)(?:\(x([0-9]+)\))?", part)
        if found is None:
            return None  # a form we do not know: leave the devices as they are
        node -= int(found[2] or 1)
        if node < 0:
            return int(found[1])
    return None


def _open_mpi(environ: Mapping[str, str], source: str, coordinator: str) -> Cluster:
    return _cluster(
        environ,
        source,
        coordinator,
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_RANK",
        _number(environ, "OMPI_COMM_WORLD_LOCAL_RANK", source),
        _local_size(environ),
    )


def _local_size(environ: Mapping[str, str]) -> int | None:
    name = "OMPI_COMM_WORLD_LOCAL_SIZE"
    return _number(environ, name, "Open MPI", least=1) if environ.get(name) else None


def _hnp_address(environ: Mapping[str, str]) -> str:
    """The address of `mpirun`, whose host runs process 0 unless a host file says otherwise.

    The variable reads `1531576320.0;tcp://10.96.0.1,10.148.0.1:34911`, or
    `...;tcp6://[fe80::1,2620::2]:43370`. JAX 0.10 and 0.11 leave out the brackets that an
    IPv6 address needs before a port.
    """
    text = environ[_OPEN_MPI_4]
    job = re.match(r"([0-9]+)\.", text)
    host = re.search(r"tcp://([^,:;]+)[,:]|tcp6://(\[[^,\];]+)[,\]]", text)
    if job is None or host is None:
        raise ConfigError(
            f"{_OPEN_MPI_4}={text!r}: no job number and TCP address can be read from it.\n"
            f"Start with `mpirun -x {COORDINATOR}=HOST:PORT`, with the host of process 0."
        )
    # Open MPI numbers its jobs in steps of 4096.
    port = _derived_port(int(job[1]) // 4096)
    return f"{host[1]}:{port}" if host[1] else f"{host[2]}]:{port}"


def _one_host(environ: Mapping[str, str]) -> str:
    """The coordinator under Open MPI 5, where all processes run on this host.

    Open MPI 5 tells a process its own host (`PMIX_HOSTNAME`) and the daemon on it, not the
    host of process 0. JAX 0.10 does not detect Open MPI 5
    (https://github.com/jax-ml/jax/issues/14576); 0.11.2 does, if `mpi4py` is installed.
    """
    size = _number(environ, "OMPI_COMM_WORLD_SIZE", "Open MPI 5", least=1)
    if _local_size(environ) != size:
        raise ConfigError(
            f"Open MPI 5 does not say where process 0 of {size} runs, and they are not known to "
            "share one host (OMPI_COMM_WORLD_LOCAL_SIZE="
            f"{environ.get('OMPI_COMM_WORLD_LOCAL_SIZE', '(not set)')}).\n"
            f"Start with `mpirun -x {COORDINATOR}=HOST:PORT`, with the host of process 0."
        )
    namespace = environ.get("PMIX_NAMESPACE", "")  # "prterun-HOST-1234@1": one for each job
    return f"127.0.0.1:{_derived_port(zlib.crc32(namespace.encode()))}"


def _kubernetes(environ: Mapping[str, str]) -> Cluster:
    # JAX asks the API server for the Job, which needs the package `kubernetes` and a service
    # account that may read pods. The names are fixed in the Job's file anyway.
    if not environ.get(COORDINATOR):
        raise ConfigError(
            f"an indexed Kubernetes job with {PROCESSES}={environ[PROCESSES]!r}, but without "
            f"{COORDINATOR}.\nSet {COORDINATOR}=JOB-0.SERVICE:PORT: pod 0 of the job, in a "
            "headless service that is also the pods' `subdomain`."
        )
    if not environ.get(PROCESSES):
        raise ConfigError(
            f"an indexed Kubernetes job with {COORDINATOR}={environ[COORDINATOR]!r}, but without "
            f"{PROCESSES}.\nSet {PROCESSES} to the `completions` of the job, which must equal its "
            "`parallelism`."
        )
    return _cluster(environ, "Kubernetes", environ[COORDINATOR], PROCESSES, "JOB_COMPLETION_INDEX")


def _cluster(
    environ: Mapping[str, str],
    source: str,
    coordinator: str,
    processes_name: str,
    process_name: str,
    local_process: int | None = None,
    local_processes: int | None = None,
) -> Cluster:
    """Checks that the parts fit together."""
    split_address(coordinator)
    processes = _number(environ, processes_name, source, least=1)
    process = _number(environ, process_name, source)
    if process >= processes:
        raise ConfigError(
            f"{process_name}={process} with {processes_name}={processes}: processes are numbered "
            f"from 0 to {processes - 1}.\nGive every process its own number below the count."
        )
    if local_process is not None and local_processes is not None:
        if local_processes > processes:
            raise ConfigError(
                f"{source}: {local_processes} processes on this host, but {processes_name}="
                f"{processes} in all.\nThe variables come from different launchers: start the "
                "program with one, or set all of " + ", ".join(_OWN) + "."
            )
        if local_process >= local_processes:
            raise ConfigError(
                f"{source}: process {local_process} of this host, which has {local_processes}; "
                f"they are numbered from 0.\nSet all of {', '.join(_OWN)} instead."
            )
    return Cluster(source, coordinator, processes, process, local_process, local_processes)


def _derived_port(number: int) -> int:
    return _FIRST_PORT + number % _PORTS


def _text(environ: Mapping[str, str], name: str, source: str) -> str:
    text = environ.get(name, "").strip()
    if not text:
        raise ConfigError(
            f"{source} started this process, but {name} is not set.\nStart it with the launcher "
            f"itself, or set all of {', '.join(_OWN)}."
        )
    return text


def _number(environ: Mapping[str, str], name: str, source: str, *, least: int = 0) -> int:
    text = _text(environ, name, source)
    if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) < least:
        raise ConfigError(
            f"{name}={text!r} is not a whole number from {least} up.\nCorrect it, or set all of "
            f"{', '.join(_OWN)}."
        )
    return int(text)
