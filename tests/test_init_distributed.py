"""Starting and joining processes: what is checked before they meet, and every error."""

from __future__ import annotations

import inspect
import re
import socket
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import jax
import pytest

from jaxcnn import parallel
from jaxcnn.errors import ConfigError, JaxcnnError
from jaxcnn.parallel import ClusterError, barrier, init_distributed
from tests.processes import free_address
from tests.test_cluster import MPI4, MPI5, OWN, POD, SLURM

ROOT = Path(__file__).parent.parent


@pytest.fixture
def alone(monkeypatch):
    """No variable of a launcher, whatever started the tests."""
    for name in {*OWN, *SLURM, *MPI4, *MPI5, *POD}:
        monkeypatch.delenv(name, raising=False)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.usefixtures("alone")
def test_one_process_needs_nothing():
    said = []
    init_distributed(say=said.append)
    init_distributed("nowhere:1", 1, 0, say=said.append)
    barrier("nobody to wait for")
    assert parallel.is_main()
    assert said == []
    assert not jax.distributed.is_initialized()


@pytest.mark.usefixtures("alone")
def test_arguments_win_over_variables_and_are_checked_like_them(monkeypatch):
    with pytest.raises(ConfigError, match=r"but not JAXCNN_PROCESS;.*\n.*process=\.\.\.\)"):
        init_distributed("node1:6000", 4)
    for name, value in OWN.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="JAXCNN_PROCESS=2 with JAXCNN_PROCESSES=2"):
        init_distributed(processes=2)


@pytest.mark.parametrize("settings", [{"timeout": 0}, {"heartbeat": 0}])
def test_times_must_be_positive(settings):
    with pytest.raises(ConfigError, match="the first must be above 0, the second at least 1"):
        init_distributed(**settings)


@pytest.mark.usefixtures("alone")
def test_calling_it_twice_is_an_error(monkeypatch):
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    with pytest.raises(ClusterError, match="has joined the others already"):
        init_distributed()


@pytest.mark.usefixtures("alone")
def test_a_port_in_use_is_an_error():
    with socket.create_server(("", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ClusterError, match=rf"cannot listen on port .*{address}.*in use"):
            init_distributed(address, 2, 0)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(("host", "reason"), [("127.0.0.1", "refused"), ("no-such-host", "Name")])
def test_a_coordinator_that_cannot_be_reached_is_named(host, reason, monkeypatch):
    _, _, port = free_address().rpartition(":")
    if host == "no-such-host":  # what resolvers answer, and how soon, depends on the network
        unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        monkeypatch.setattr("socket.create_connection", Mock(side_effect=unknown))
    address = f"{host}:{port}"
    with pytest.raises(ClusterError, match=f"{address}.*within 0.4 s") as caught:
        init_distributed(address, 3, 1, timeout=0.4)
    text = str(caught.value)
    assert isinstance(caught.value, JaxcnnError)
    assert text.startswith("process 1 of 3 on ")
    assert re.search(rf"It called \d+ times; the last answer was: .*({reason})", text)
    assert "Likely causes: process 0 has not started" in text


@pytest.mark.usefixtures("alone")
def test_other_errors_of_jax_are_passed_on(monkeypatch):
    def fail(**_):
        raise RuntimeError("the reason")

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    with pytest.raises(ClusterError, match=r"process 0 of 2 .*could not join the others: the r"):
        init_distributed(f"127.0.0.1:{free_port()}", 2, 0)


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT
    )


def test_jax_must_not_have_been_used_before():
    """In a process of its own: JAX keeps what it has begun, even if that fails."""
    code = (
        "import jax\n"
        "from jaxcnn.parallel import init_distributed\n"
        "jax.devices()\n"
        f"init_distributed('127.0.0.1:{free_port()}', 2, 0)\n"
    )
    done = run(code)
    assert done.returncode == 1
    assert "JAX has started its devices in this process already" in done.stderr


def test_importing_starts_no_device():
    code = (
        "import jaxcnn.parallel\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge.backends_are_initialized()\n"
    )
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_the_page_about_many_hosts_names_what_exists():
    page = (ROOT / "docs" / "many-hosts.md").read_text()
    assert set(re.findall(r"JAXCNN_[A-Z_]+", page)) == set(OWN)
    named = set(re.findall(r"\b(init_distributed|barrier|is_main|ClusterError)\b", page))
    assert named <= set(parallel.__all__)
    parameters = inspect.signature(init_distributed).parameters
    for call in re.findall(r"init_distributed\(([^)]*)\)", page):
        assert set(re.findall(r"(\w+)=", call)) <= set(parameters)
    assert [parameters["timeout"].default, parameters["heartbeat"].default] == [120, 30]
    assert "`heartbeat` seconds of silence (30)" in page
    assert "`timeout` seconds (120)" in page


def test_public_names():
    assert len(set(parallel.__all__)) == len(parallel.__all__)
    assert all(hasattr(parallel, name) for name in parallel.__all__)
