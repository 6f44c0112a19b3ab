"""Processes of the benchmarks: those that crash, hang or are missing leave the others running."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import measure, process, startup
from benchmarks.table import network_table
from tests.test_benchmarks import report


def test_a_crash_is_told_with_its_last_lines():
    with process.Worker(["benchmarks.worker", "nothing", "lenet"]) as worker:
        with pytest.raises(process.WorkerError, match=r"(?s)nothing lenet ended .*KeyError"):
            worker.answer()
        with pytest.raises(process.WorkerError, match="ended with status 1"):
            worker.ask("go 1")


def test_a_process_that_hangs_is_given_up():
    with (
        process.Worker(["timeit", "-n1", "import time; time.sleep(60)"], limit=0.1) as worker,
        pytest.raises(process.WorkerError, match="did not answer within"),
    ):
        worker.answer()
    with pytest.raises(process.WorkerError, match="took longer than 0 s"):
        process.run_code("import time; time.sleep(60)", limit=0.1)


def test_a_failed_part_is_told_by_name():
    with pytest.raises(process.WorkerError, match=r"(?s)import nothing_there ended .*No module"):
        process.run_code("import nothing_there")
    with pytest.raises(SystemExit, match="unknown part 'nothing'"):
        startup.main(["nothing"])
    assert not process.installed("nothing_there")
    assert process.installed("jax")


def test_the_compilation_cache_of_the_user_is_not_used(monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/mine")
    assert "JAX_COMPILATION_CACHE_DIR" not in process.environment()
    assert process.environment({"JAX_COMPILATION_CACHE_DIR": "x"})["JAX_COMPILATION_CACHE_DIR"]


def test_compile_time_needs_a_cache(monkeypatch):
    monkeypatch.setattr("jaxcnn.compilation.use_compile_cache", lambda: None)
    with pytest.raises(process.WorkerError, match="compilation cache cannot be used"):
        startup.time_compile()


class FakeWorker(process.Worker):
    """Answers by script: plain JAX crashes in its turn, Flax at the start, keras is on a GPU."""

    def __init__(self, arguments: list[str]) -> None:
        self.name = arguments[1]

    def answer(self) -> dict[str, Any]:
        if self.name == "flax":
            raise process.WorkerError("flax crashed")
        common = {"step_seconds": 0.1, "resident_bytes": 1, "first_step_seconds": 1.0}
        return report() | common | {"gpu": self.name == "keras"}

    def ask(self, order: str) -> dict[str, Any]:
        if self.name == "plain":
            raise process.WorkerError("plain crashed")
        if order == "end":
            return {"peak_bytes": 1, "device_peak_bytes": None}
        return {"seconds": 1.0, "loss": float("nan") if self.name == "jaxcnn_single" else 1.0}

    def stop(self) -> None:
        pass


def test_a_crash_leaves_the_others_running(monkeypatch):
    monkeypatch.setattr(measure, "Worker", FakeWorker)
    monkeypatch.setattr(measure, "SETTLE", 0)
    monkeypatch.setattr(measure, "installed", lambda package: package != "equinox")
    about = {"gpu": False, "networks": {"lenet": {"parameters": 61_706, "macs": 416_520}}}
    names = ["jaxcnn", "jaxcnn_single", "plain", "flax", "equinox", "keras"]
    said: list[str] = []
    found = measure.measure("lenet", names, 2, about, said.append)
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows) == names
    assert rows["jaxcnn"]["milliseconds"]["all"] == pytest.approx([100, 100])
    assert rows["jaxcnn"]["steps_per_round"] == 10  # a second of steps of 0.1 s
    problems = {name: row.get("problem") for name, row in rows.items()}
    assert problems == {
        "jaxcnn": None,
        "jaxcnn_single": "jaxcnn_single lenet: the loss is not finite.",
        "plain": "plain crashed",
        "flax": "flax crashed",
        "equinox": "not installed",
        "keras": "not run: runs on the GPU",
    }
    assert "flax crashed" in said
    assert network_table(found).count("crashed") == 2

    monkeypatch.setattr(measure, "free_memory", lambda: 1)
    rows = measure.measure("lenet", ["jaxcnn"], 1, about, said.append)["rows"]
    assert rows[0]["problem"] == "not run: only 0.0 GiB of memory left"
