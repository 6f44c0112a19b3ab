"""The arithmetic of docs/scaling.md, and that the page says what the code says."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks import predict, scaling
from benchmarks.block import Block
from benchmarks.machines import (
    A100_ETHERNET,
    A100_INFINIBAND,
    LEAST_STEP,
    MACHINES,
    TPU_V5P,
    Level,
    Machine,
    hops,
)
from benchmarks.results import BenchmarkError

PAGE = Path(__file__).parent.parent / "docs" / "scaling.md"
SIMPLE = Machine("simple", 5e9, (Level(8, 1e9, 0.0),), 0.0, "made up")
# 1e9 FLOP/s are reached.


def some(**changes):
    values = {
        "title": "net", "rows": 10, "parameters": 1000, "macs": 1_000_000,
        "dense_parameters": 900, "dense_macs": 900, "dense_values": 60, "norm_channels": (),
    }  # fmt: skip
    return predict.Work(**{**values, **changes})


@pytest.fixture(scope="module")
def works():
    return {each.title: each for each in predict.works()}


def test_networks_are_read_from_the_ledger(works):
    assert works["LeNet-5"].parameters == 61_706
    assert works["LeNet-5"].macs == 416_520
    alexnet = works["AlexNet"]
    # Deck E's numbers: 9216 x 4096, 4096 x 4096, 4096 x 1000, with biases.
    assert alexnet.dense_macs == 9216 * 4096 + 4096 * 4096 + 4096 * 1000
    assert alexnet.dense_parameters == alexnet.dense_macs + 4096 + 4096 + 1000
    assert alexnet.dense_values == 9216 + 4096 + 4096 + 1000
    assert alexnet.parameters == 62_378_344
    resnet = works["ResNet-50"]
    assert len(resnet.norm_channels) == 53
    assert sum(resnet.norm_channels) == 26_560  # running means and variances: 53,120


def test_seconds_of_a_step():
    assert some().compute(SIMPLE) == pytest.approx(6 * 1e6 * 10 / 1e9)
    assert some().compute(SIMPLE, rows=20) == pytest.approx(0.12)
    assert some(macs=1).compute(SIMPLE) == LEAST_STEP
    assert some().rows_in(0.06, SIMPLE) == pytest.approx(10)


def simulated(levels, devices, size):
    """An all-reduce step by step: who has to send what, one hop after another."""
    seconds = 0.0
    for level in levels:
        members = min(devices, level.devices)
        for _ in ("reduce", "gather"):
            for _ in range(members - 1):
                seconds += size / members / level.bandwidth
        seconds += 2 * level.hop * math.ceil(math.log2(members))
        size, devices = size / members, devices // members
    return seconds


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.title)
@pytest.mark.parametrize("devices", [1, 8, 64, 512])
def test_an_all_reduce_is_its_steps(machine, devices):
    size = 4 * 62_378_344
    found = predict.all_reduce(machine.levels, machine.start, devices, size)
    expected = simulated(machine.levels, devices, size) + machine.start
    assert found == pytest.approx(expected, rel=1e-6)


def test_devices_that_do_not_exist():
    with pytest.raises(BenchmarkError, match="16 devices are more than the machine has"):
        predict.all_reduce(SIMPLE.levels, 0.0, 16, 4)
    with pytest.raises(BenchmarkError, match="12 devices do not fill groups of 8"):
        predict.all_reduce(A100_INFINIBAND.levels, 0.0, 12, 4)


def test_hops_of_a_tree():
    assert [hops(n) for n in (1, 2, 3, 4, 512)] == [0, 2, 4, 4, 18]


def test_efficiency():
    assert predict.efficiency(3.0, 0.0, 1.0, overlap=False) == 0.75
    assert predict.efficiency(3.0, 1.0, 0.0, overlap=True) == 0.75
    assert predict.efficiency(3.0, 0.0, 2.0, overlap=True) == 1.0  # hidden by the backward pass
    assert predict.efficiency(3.0, 0.0, 3.0, overlap=True) == 0.75


def test_fewer_rows_more_devices_and_slower_links_are_never_better(works):
    for each in works.values():
        for machine in MACHINES:
            times = [predict.exchange(each, machine, n) for n in predict.COUNTS]
            assert times == sorted(times)
    alexnet = works["AlexNet"]
    assert predict.exchange(alexnet, A100_ETHERNET, 8) > 50 * predict.exchange(
        alexnet, A100_INFINIBAND, 8
    )


def test_where_the_exchange_costs_as_much_as_the_arithmetic(works):
    """The rows that the page names give the efficiency that it names."""
    alexnet = works["AlexNet"]
    for machine in MACHINES:
        for devices in predict.COUNTS:
            seconds = predict.exchange(alexnet, machine, devices)
            half = 6 * alexnet.macs * alexnet.rows_in(seconds, machine) / machine.sustained
            assert predict.efficiency(half, 0.0, seconds, overlap=False) == pytest.approx(0.5)
            least = seconds / (devices - 1)
            gain = devices * predict.efficiency(least, 0.0, seconds, overlap=False)
            assert gain == pytest.approx(1)


def test_dense_layers_divided_over_neighbours():
    """By hand: 8 devices on one level of 1 GB/s, no other layers."""
    work = some(parameters=900)
    # 60 values of 10 rows to 7 others, and back, 4 bytes each.
    assert predict.divided(work, SIMPLE, 8) == pytest.approx(2 * 7 * 60 * 10 * 4 / 1e9)
    assert predict.divided(some(), SIMPLE, 8) == pytest.approx(
        2 * 7 * 60 * 10 * 4 / 1e9 + 2 * 7 / 8 * 400 / 1e9
    )


def test_statistics_of_batch_norm_wait_for_each_other(works):
    resnet = works["ResNet-50"]
    one = predict.all_reduce(TPU_V5P.levels, TPU_V5P.start, 8, 0)
    assert predict.norms(resnet, TPU_V5P, 8) > 53 * predict.EXCHANGES_PER_NORM * one
    assert predict.norms(works["AlexNet"], TPU_V5P, 8) == 0


# --- the page


def block_of(block: Block) -> str:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return "\n".join(lines[lines.index(block.begin) + 1 : lines.index(block.end)])


def test_the_predicted_tables_are_those_of_the_code():
    assert block_of(predict.BLOCK) == predict.tables(), "run: python -m benchmarks.predict --docs"


def test_the_measured_table_is_that_of_the_results():
    assert block_of(scaling.BLOCK) == scaling.table(scaling.load())


def test_the_results_are_whole_and_hold():
    results = scaling.load()
    assert set(results["networks"]) == set(scaling.CASES)
    for name, by_devices in results["networks"].items():
        case = scaling.CASES[name]
        assert [found["devices"] for found in by_devices] == list(case.devices)
        for found in by_devices:
            scaling.require(case, found)
            for row in found["ways"].values():
                assert (row["difference"] is not None) is case.run
                if found["devices"] > 1:
                    assert row["gradient_bytes"] == 4 * found["parameters"]


def test_the_command_replaces_only_its_tables(tmp_path, capsys):
    page = tmp_path / "scaling.md"
    page.write_text(f"# Title\n\n{predict.BLOCK.begin}\nold\n{predict.BLOCK.end}\nend\n")
    assert predict.main(["--docs", "--page", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("# Title\n")
    assert text.endswith("\nend\n")
    tables = predict.tables()
    assert tables in text
    assert tables in capsys.readouterr().out


def test_a_page_without_a_place(tmp_path, capsys):
    page = tmp_path / "scaling.md"
    page.write_text("# Title\n")
    with pytest.raises(BenchmarkError, match=r"scaling.md must have one line <!-- predicted:begin"):
        predict.BLOCK.update(page, "text")
    assert predict.main(["--docs", "--page", str(page)]) == 1
    assert "must have one line" in capsys.readouterr().err
