"""Which process of how many: read from the variables of every launcher, and every error."""

from __future__ import annotations

import re

import pytest

from jaxcnn.errors import ConfigError
from jaxcnn.parallel import Cluster, detect, device_share
from jaxcnn.parallel.cluster import split_address

OWN = {"JAXCNN_COORDINATOR": "node1:6000", "JAXCNN_PROCESSES": "4", "JAXCNN_PROCESS": "2"}
SLURM = {
    "SLURM_JOB_ID": "1000",
    "SLURM_STEP_ID": "1",
    "SLURM_NTASKS": "6",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "2",
    "SLURM_STEP_TASKS_PER_NODE": "2(x3)",
    "SLURM_JOB_NODELIST": "gpu[1-9]",
    "SLURM_STEP_NODELIST": "gpu[3-5]",
}
SLURM_PORT = 61440 + (16 * 1000 + 1) % 4096
MPI4 = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1,10.108.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "8",
    "OMPI_COMM_WORLD_RANK": "7",
    "OMPI_COMM_WORLD_LOCAL_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
}
MPI4_PORT = 61440 + (1531576320 // 4096) % 4096
MPI5 = {
    "OMPI_VERSION": "5.0.5",
    "PRTE_LAUNCHED": "1",
    "PMIX_NAMESPACE": "prterun-node1-4711@1",
    "PMIX_RANK": "1",
    "PMIX_HOSTNAME": "node1",
    "PMIX_SERVER_URI41": "prterun-node1-4711@0.0;tcp4://10.0.0.1:40001",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}
POD = {
    "KUBERNETES_SERVICE_HOST": "10.0.0.1",
    "JOB_COMPLETION_INDEX": "1",
    "JAXCNN_PROCESSES": "2",
    "JAXCNN_COORDINATOR": "train-0.pods:61500",
}
TWO_HOSTS = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3"}
AT = {"JAXCNN_COORDINATOR": "elsewhere:7000"}


def without(environ, *names):
    return {name: value for name, value in environ.items() if name not in names}


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"PATH": "/bin"},
        {"JAXCNN_COORDINATOR": ""},
        # An sbatch script itself, not started by srun: SLURM_PROCID is set all the same.
        without(SLURM, "SLURM_STEP_ID", "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE"),
        # Indexed jobs of independent runs.
        without(POD, "JAXCNN_PROCESSES", "JAXCNN_COORDINATOR"),
        {"KUBERNETES_SERVICE_HOST": "10.0.0.1"},
        {"PMIX_SERVER_URI41": "pmix-server.1;tcp4://127.0.0.1:60043"},
    ],
)
def test_without_a_launcher_there_is_one_process(environ):
    assert detect(environ) is None


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (OWN, Cluster("JAXCNN variables", "node1:6000", 4, 2)),
        (OWN | SLURM | MPI4 | POD | OWN, Cluster("JAXCNN variables", "node1:6000", 4, 2)),
        (SLURM, Cluster("SLURM", f"gpu3:{SLURM_PORT}", 6, 5, 1, 2)),
        (SLURM | AT, Cluster("SLURM", "elsewhere:7000", 6, 5, 1, 2)),
        (
            without(SLURM, "SLURM_STEP_NODELIST", "SLURM_LOCALID", "SLURM_NODEID"),
            Cluster("SLURM", f"gpu1:{SLURM_PORT}", 6, 5),
        ),
        (
            without(SLURM, "SLURM_STEP_ID") | {"SLURM_STEP_TASKS_PER_NODE": "?"},
            Cluster("SLURM", f"gpu3:{SLURM_PORT - 1}", 6, 5, 1, None),
        ),
        (
            SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2"},  # says nothing about this node
            Cluster("SLURM", f"gpu3:{SLURM_PORT}", 6, 5, 1, None),
        ),
        (
            SLURM | {"SLURM_STEP_TASKS_PER_NODE": "1(x2),4"},
            Cluster("SLURM", f"gpu3:{SLURM_PORT}", 6, 5, 1, 4),
        ),
        (MPI4, Cluster("Open MPI 4", f"10.96.0.1:{MPI4_PORT}", 8, 7, 3, 4)),
        (
            MPI4
            | {
                "OMPI_MCA_orte_hnp_uri": "1314521088.0;tcp6://[fe80::b9b:ac5d:9cf0:b858,"
                "2620:10d:c083:150e::3000:2]:43370"
            },
            Cluster(
                "Open MPI 4",
                f"[fe80::b9b:ac5d:9cf0:b858]:{61440 + 1314521088 // 4096 % 4096}",
                8,
                7,
                3,
                4,
            ),
        ),
        (MPI4 | AT, Cluster("Open MPI 4", "elsewhere:7000", 8, 7, 3, 4)),
        # mpirun inside a SLURM job: the SLURM variables are those of its daemons.
        (SLURM | MPI4, Cluster("Open MPI 4", f"10.96.0.1:{MPI4_PORT}", 8, 7, 3, 4)),
        (MPI5 | TWO_HOSTS | AT, Cluster("Open MPI 5", "elsewhere:7000", 4, 3, 1, 2)),
        (
            without(MPI5, "PRTE_LAUNCHED", "OMPI_COMM_WORLD_LOCAL_SIZE") | AT,
            Cluster("Open MPI 5", "elsewhere:7000", 2, 1, 1, None),
        ),
        # srun with Open MPI's variables, but without the mark of its launcher: srun numbers.
        (
            SLURM | without(MPI5, "PRTE_LAUNCHED"),
            Cluster("SLURM", f"gpu3:{SLURM_PORT}", 6, 5, 1, 2),
        ),
        (POD, Cluster("Kubernetes", "train-0.pods:61500", 2, 1)),
    ],
)
def test_every_launcher(environ, expected):
    assert detect(environ) == expected


def test_open_mpi_5_on_one_host_needs_no_address():
    first, second = detect(MPI5), detect(MPI5 | {"PMIX_NAMESPACE": "prterun-node1-4712@1"})
    other = detect(MPI5 | {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_LOCAL_RANK": "0"})
    assert first == Cluster("Open MPI 5", first.coordinator, 2, 1, 1, 2)
    assert re.fullmatch(r"127\.0\.0\.1:6[1-5]\d{3}", first.coordinator)
    assert other.coordinator == first.coordinator  # the same in every process of a job
    assert second.coordinator != first.coordinator  # and not in other jobs


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("node001", "node001"),
        ("node001,host2", "node001"),
        ("node[003-005,9]", "node003"),
        ("node[9,003-005]", "node9"),
        ("node[007]", "node007"),
        ("a-b[1,3]-x", "a-b1-x"),
        ("rack[2-3]n[04-07,9],rack9n1", "rack2n04"),
        ("login1,node[1-2]", "login1"),
        ("h.domain.org", "h.domain.org"),
    ],
)
def test_the_first_host_of_a_slurm_list(nodes, host):
    for environ in (
        SLURM | {"SLURM_STEP_NODELIST": nodes},
        without(SLURM, "SLURM_STEP_NODELIST") | {"SLURM_JOB_NODELIST": nodes},
    ):
        assert detect(environ).coordinator == f"{host}:{SLURM_PORT}"


def test_slurm_jobs_and_steps_use_ports_of_their_own():
    ports = {
        split_address(
            detect(SLURM | {"SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(step)}).coordinator
        )[1]
        for job in range(40, 60)
        for step in range(4)
    }
    assert len(ports) == 80
    assert all(61440 <= port <= 65535 for port in ports)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (without(OWN, "JAXCNN_PROCESS"), "JAXCNN_PROCESSES set, but not JAXCNN_PROCESS;"),
        (without(OWN, "JAXCNN_PROCESSES"), "JAXCNN_PROCESS set, but not JAXCNN_PROCESSES;"),
        (without(OWN, "JAXCNN_COORDINATOR"), "set, but not JAXCNN_COORDINATOR; all three"),
        (AT, "JAXCNN_COORDINATOR set, but not JAXCNN_PROCESSES and JAXCNN_PROCESS;"),
        (SLURM | {"JAXCNN_PROCESS": "1"}, "but not JAXCNN_COORDINATOR and JAXCNN_PROCESSES"),
        (OWN | {"JAXCNN_PROCESSES": "four"}, "JAXCNN_PROCESSES='four' is not a whole number"),
        (OWN | {"JAXCNN_PROCESSES": "0"}, "JAXCNN_PROCESSES='0' is not a whole number from 1"),
        (OWN | {"JAXCNN_PROCESS": "-1"}, "JAXCNN_PROCESS='-1' is not a whole number from 0"),
        (OWN | {"JAXCNN_PROCESS": "4"}, "JAXCNN_PROCESS=4 with JAXCNN_PROCESSES=4: .* 0 to 3"),
        (OWN | {"JAXCNN_COORDINATOR": "node1"}, "'node1' is not an address.*\n.*HOST:PORT"),
        (OWN | {"JAXCNN_COORDINATOR": "node1:70000"}, "'node1:70000' is not an address"),
        (OWN | {"JAXCNN_COORDINATOR": "node1:0"}, "'node1:0' is not an address"),
        (OWN | {"JAXCNN_COORDINATOR": "fe80::1:6000"}, "'fe80::1:6000' is not an address"),
        (without(SLURM, "SLURM_NTASKS"), "SLURM started this process, but SLURM_NTASKS is not"),
        (without(SLURM, "SLURM_PROCID"), "SLURM started this process, but SLURM_PROCID is not"),
        (
            without(SLURM, "SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"),
            "SLURM_JOB_NODELIST is not set",
        ),
        (SLURM | {"SLURM_JOB_ID": "7_3"}, "SLURM_JOB_ID='7_3' is not a whole number"),
        (SLURM | {"SLURM_PROCID": "6"}, "SLURM_PROCID=6 with SLURM_NTASKS=6"),
        (SLURM | {"SLURM_LOCALID": "2"}, "SLURM: process 2 of this host, which has 2"),
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "7(x3)"}, "SLURM: 7 processes on this host, but"),
        (SLURM | {"SLURM_STEP_NODELIST": "node[3-"}, "SLURM_STEP_NODELIST='node\\[3-': no first"),
        (SLURM | {"SLURM_STEP_NODELIST": "node[a-b]"}, "no first host can be read"),
        (SLURM | {"SLURM_STEP_NODELIST": ",x"}, "no first host can be read"),
        (without(MPI4, "OMPI_COMM_WORLD_SIZE"), "Open MPI 4 .* OMPI_COMM_WORLD_SIZE is not set"),
        (without(MPI4, "OMPI_COMM_WORLD_LOCAL_RANK"), "OMPI_COMM_WORLD_LOCAL_RANK is not set"),
        (MPI4 | {"OMPI_COMM_WORLD_RANK": "9"}, "COMM_WORLD_RANK=9 with OMPI_COMM_WORLD_SIZE=8"),
        (MPI4 | {"OMPI_MCA_orte_hnp_uri": "udp://1"}, "orte_hnp_uri='udp://1': no job number"),
        (
            MPI5 | TWO_HOSTS,
            "does not say where process 0 of 4 runs.*LOCAL_SIZE=2.*\n.*mpirun -x JAXCNN_COORD",
        ),
        (
            without(MPI5, "OMPI_COMM_WORLD_LOCAL_SIZE"),
            r"OMPI_COMM_WORLD_LOCAL_SIZE=\(not set\)",
        ),
        (without(POD, "JAXCNN_PROCESSES"), "but without JAXCNN_PROCESSES.\n.*`completions`"),
        (without(POD, "JAXCNN_COORDINATOR"), "without JAXCNN_COORDINATOR.\n.*JOB-0.SERVICE:PORT"),
        (POD | {"JOB_COMPLETION_INDEX": "2"}, "JOB_COMPLETION_INDEX=2 with JAXCNN_PROCESSES=2"),
    ],
)
def test_what_is_missing_or_contradicts_is_named(environ, message):
    with pytest.raises(ConfigError, match=message):
        detect(environ)


@pytest.mark.parametrize(
    ("place", "environ", "expected"),
    [
        ((None, None), {"CUDA_VISIBLE_DEVICES": "0,1"}, None),
        ((0, 1), {"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, None),  # one process, all four GPUs
        ((0, None), {"CUDA_VISIBLE_DEVICES": "0,1"}, None),
        ((2, 4), {}, (2,)),
        ((2, 4), {"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, (2,)),
        ((1, 2), {"CUDA_VISIBLE_DEVICES": "4,5,6,7"}, (2, 3)),
        ((1, 2), {"ROCR_VISIBLE_DEVICES": "0,1"}, (1,)),
        ((1, 2), {"CUDA_VISIBLE_DEVICES": "0"}, None),  # the launcher has chosen
        ((1, 2), {"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_GPUS_PER_TASK": "2"}, None),
        ((1, 2), {"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_GPU_BIND": "single:1"}, None),
        ((1, 2), {"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_GPU_BIND": "none"}, (1,)),
        ((1, 2), {"JAX_LOCAL_DEVICE_IDS": "0"}, None),
    ],
)
def test_processes_of_a_host_divide_its_gpus(place, environ, expected):
    assert device_share(Cluster("test", "a:1", 8, 3, *place), environ) == expected


def test_gpus_that_cannot_be_divided_are_an_error():
    cluster = Cluster("test", "a:1", 8, 3, 1, 3)
    with pytest.raises(ConfigError, match=r"3 processes on this host see 4 GPUs \(CUDA_VISIBLE"):
        device_share(cluster, {"CUDA_VISIBLE_DEVICES": "0,1,2,3"})


@pytest.mark.parametrize(
    ("address", "parts"),
    [("a-1.b:80", ("a-1.b", 80)), ("10.0.0.1:65535", ("10.0.0.1", 65535)), ("[::1]:9", ("::1", 9))],
)
def test_addresses_are_split(address, parts):
    assert split_address(address) == parts
