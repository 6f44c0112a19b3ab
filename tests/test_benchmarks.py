"""The pure parts of the benchmarks, and that the libraries on JAX compute the same network."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from benchmarks import libraries, machine, networks, ours, process, results, run
from benchmarks.networks import NETWORKS
from benchmarks.peers import arrays, layout, plain
from benchmarks.results import BenchmarkError
from benchmarks.table import (
    BEGIN,
    END,
    markdown,
    network_table,
    replace_block,
    safe_name,
    startup_lines,
    update_readme,
)
from jaxcnn.errors import ConfigError

# --- descriptions


@pytest.mark.parametrize("name", NETWORKS)
def test_descriptions_have_the_parameters_of_the_ledger(name):
    network = networks.find(name)
    table = ours.table_of(network)
    assert network.parameters == table.params
    owners = [row.params for row in table.rows if row.params]
    shapes = networks.parameter_shapes(network)
    assert [sum(int(np.prod(s)) for s in own.values()) for own in shapes] == owners


def test_an_unknown_network_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ConfigError, match="'letnet' is unknown: use any of lenet, cifar"):
        networks.find("letnet")
    with pytest.raises(ConfigError, match="'letnet' is unknown"):
        run.check(run.Settings(networks=("lenet", "letnet")))


def test_other_settings_are_checked():
    with pytest.raises(ConfigError, match="peer 'caffe' is unknown: use any of plain, flax"):
        run.check(run.Settings(peers=("caffe",)))
    with pytest.raises(ConfigError, match="rounds=0 is not allowed"):
        run.check(run.Settings(rounds=0))
    assert run.main(["--networks", "letnet"]) == 2


def test_rows_of_a_gpu_only_there():
    assert libraries.rows(("plain",), gpu=False) == [
        "jaxcnn",
        "jaxcnn_single",
        "jaxcnn_bfloat16",
        "plain",
    ]
    on_gpu = libraries.rows(("torch",), gpu=True)
    assert on_gpu[:2] == ["jaxcnn", "jaxcnn_single"]
    assert on_gpu[-2:] == ["torch", "torch_compile"]
    assert {"jaxcnn_highest", "jaxcnn_tf32"} < set(on_gpu)
    assert "matrix" not in on_gpu
    assert run.not_run(gpu=False) == {"GPU": "not run"}
    assert run.not_run(gpu=True) == {}


@pytest.mark.parametrize("name", ["lenet", pytest.param("resnet20", marks=pytest.mark.slow)])
def test_plain_jax_and_jaxcnn_compute_the_same(name):
    network = networks.find(name)
    model = ours.model_of(network)
    images, labels = (jnp.asarray(each[:3]) for each in networks.batch(network))
    ts = ours.train_state(network)

    @jax.jit
    def both(ts: Any, start: Any, images: Any) -> Any:
        key = jax.random.key(0)
        mine, state = jaxcnn.apply(model, ts.params, ts.state, images, train=True, key=key)
        still = plain.zero_statistics(network)
        other, running = plain.forward(network.layers, start, still, images, key)
        return mine, other, state, running, arrays.cross_entropy(other, labels)

    mine, other, state, running, loss = both(ts, jax.device_put(networks.start(network)), images)
    np.testing.assert_allclose(mine, other, atol=2e-4)
    logs = np.asarray(other, np.float64)
    logs = logs - np.log(np.exp(logs).sum(1, keepdims=True))
    np.testing.assert_allclose(loss, -logs[np.arange(3), labels].mean(), rtol=1e-5)
    if name == "resnet20":
        assert len(running) == 19
        np.testing.assert_allclose(state["norm"]["mean"], running[0][0], atol=1e-6)
        np.testing.assert_allclose(state["norm"]["var"], running[0][1], atol=1e-5)


@pytest.mark.parametrize("axis", [0, -1])
def test_local_response_norm_of_the_peers(rng, axis):
    x = rng.standard_normal((7, 4, 7)).astype(np.float32) * 30
    wide = np.moveaxis(x.astype(np.float64), axis, -1)
    expected = np.empty_like(wide)
    for c in range(7):
        total = (wide[..., max(c - 2, 0) : c + 3] ** 2).sum(-1)
        expected[..., c] = wide[..., c] / (2 + 1e-4 * total) ** 0.75
    y = arrays.local_response_norm(jnp.asarray(x), networks.LocalResponseNorm(), axis)
    np.testing.assert_allclose(np.moveaxis(np.asarray(y), axis, -1), expected, rtol=1e-5)


def test_halve_and_pad_of_the_peers(rng):
    x = rng.standard_normal((2, 4, 6, 4)).astype(np.float32)
    y = np.asarray(arrays.halve_and_pad(jnp.asarray(x)))
    assert y.shape == (2, 2, 3, 8)
    np.testing.assert_array_equal(y[..., 2:6], x[:, ::2, ::2])
    assert not y[..., :2].any()
    assert not y[..., 6:].any()


def test_channels_first_is_the_same_map():
    network = networks.find("cifar")
    last, other = networks.start(network)[-1], layout.start_channels_first(network)
    maps = np.random.default_rng(0).standard_normal((2, 8, 8, 32)).astype(np.float32)
    expected = maps.reshape(2, -1) @ last["kernel"]
    got = maps.transpose(0, 3, 1, 2).reshape(2, -1) @ other[-1]["kernel"].T
    np.testing.assert_allclose(got, expected, atol=1e-4)
    assert [each["kernel"].shape for each in other[:2]] == [(16, 3, 5, 5), (32, 16, 5, 5)]
    images, _ = layout.batch_channels_first(network)
    np.testing.assert_array_equal(images[:, 1], networks.batch(network)[0][..., 1])


def test_a_loop_of_steps_is_the_steps():
    network = networks.TINY
    several, single = ours.make(network), ours.make(network, several=False)
    assert several.parameters == single.parameters == plain.make(network).parameters == 50
    losses = [single.run(1) for _ in range(4)]
    assert several.run(1) == pytest.approx(losses[0], rel=1e-5)
    assert single.run(2) < losses[-1] < losses[0]
    assert [plain.make(network).run(n) for n in (1, 3)] == pytest.approx(
        [losses[0], losses[2]], rel=1e-5
    )


# --- numbers


def test_numbers_of_a_row():
    rate = results.summary([50.0, 40.0, 60.0])
    row = results.row_numbers([0.2, 0.1, 0.4], batch=10, macs=1_000_000_000, matrix=rate)
    assert row["milliseconds"] == {"median": 200, "min": 100, "max": 400, "all": [200, 100, 400]}
    assert row["images_per_second"] == pytest.approx(50)
    # 60 operations of 10^9 in 0.2 s are 300 GFLOP/s.
    assert row["share"] == pytest.approx(300 / 50)
    assert results.row_numbers([0.2], 10, 1, None)["share"] is None


def report(parameters: int = 61_706, losses: tuple[float, ...] = (2.6, 2.4, 2.3)) -> dict:
    return {"parameters": parameters, "losses": losses}


def test_libraries_that_differ_stop_the_run():
    lenet, counted = networks.find("lenet"), {"parameters": 61_706}
    results.check_same(lenet, counted, {"a": report(), "b": report(losses=(2.6, 2.4001, 2.3))})
    with pytest.raises(BenchmarkError, match=r"different numbers of parameters: .* b 61,700"):
        results.check_same(lenet, counted, {"a": report(), "b": report(61_700)})
    three = {"a": report(), "b": report(), "c": report(losses=(2.6, 2.4, 2.2))}
    with pytest.raises(BenchmarkError, match="first losses of c differ"):
        results.check_same(lenet, counted, three)
    results.check_same(lenet, counted, {})


def test_losses_are_compared_only_where_they_must_agree():
    lenet, counted = networks.find("lenet"), {"parameters": 61_706}
    rough = {"a": report(), "b": report(), "jaxcnn_bfloat16": report(losses=(2.6, 2.5, 2.2))}
    results.check_same(lenet, counted, rough)
    alexnet = networks.find("alexnet")
    assert alexnet.random
    assert not lenet.random
    drawn = {"a": report(62_378_344), "b": report(62_378_344, (7.0, 6.0, 5.0))}
    results.check_same(alexnet, {"parameters": 62_378_344}, drawn)


# --- tables


def some_results() -> dict[str, Any]:
    numbers = {"first_step_seconds": 1.5, "peak_bytes": 300 * 2**20, "device_peak_bytes": None}
    rate = results.summary([50.0])

    def row(name: str, seconds: list[float]) -> dict[str, Any]:
        label = libraries.LIBRARIES[name].label
        return (
            {"name": name, "label": label}
            | numbers
            | results.row_numbers(seconds, 128, 416_520, rate)
        )

    network = {
        "title": "LeNet-5",
        "batch": 128,
        "input": [28, 28, 1],
        "parameters": 61_706,
        "macs": 416_520,
        "matrix_gflops": rate,
        "rows": [
            row("jaxcnn", [0.008, 0.01, 0.02]),
            {"name": "keras", "label": "Keras (on JAX)", "problem": "not installed"},
            {"name": "flax", "label": "Flax (nnx)", "problem": "flax ended\n  its last line"},
            row("torch", [0.02]),
        ],
    }
    spread = results.summary([0.5])
    return {
        "date": "2026-01-02T03:04:05+00:00",
        "machine": {"device": "cpu X 2 cores", "versions": {"python": "3.11", "jax": "0.10.2"}},
        "rounds": 3,
        "networks": {"lenet": network},
        "not_run": {"GPU": "not run"},
        "startup": {
            "import": {"jaxcnn": spread, "jax, optax": spread},
            "compile": {name: {"trace": 0.5, "compile": 2.0} for name in ("cold", "cached")},
            "dispatch_plain": results.summary([31.4]),
            "mnist": {"problem": "not run: DATA_DIR is not set"},
        },
    }


def test_the_table_of_a_network():
    lines = network_table(some_results()["networks"]["lenet"]).splitlines()
    assert lines[0] == (
        "LeNet-5, batch 128, 28x28x1: 61,706 parameters, 416,520 multiply-adds an image; "
        "matrix product 50 GFLOP/s"
    )
    assert "time / PyTorch" in lines[1]
    assert " ".join(lines[3].split()) == "jaxcnn 10.0 (8.00..20.0) 12,800 0.50 64 % 1.5 300"
    assert " ".join(lines[4].split()) == "Keras (on JAX) not installed"
    assert " ".join(lines[5].split()) == "Flax (nnx) failed, see below"
    assert " ".join(lines[6].split()) == "PyTorch 20.0 (20.0..20.0) 6,400 1.00 32 % 1.5 300"
    assert lines[7:] == ["flax ended", "  its last line"]


def test_without_torch_times_are_compared_with_plain_jax_or_nothing():
    network = some_results()["networks"]["lenet"]
    network["rows"][-1] = {**network["rows"][-1], "name": "plain", "label": "plain JAX"}
    assert "time / plain JAX" in network_table(network)
    network["rows"].pop()
    network["matrix_gflops"] = None
    assert "time / -" in network_table(network)
    assert "no matrix product" in network_table(network)


def test_the_table_of_the_readme():
    text = markdown(some_results())
    assert "Medians of 3 rounds on cpu X 2 cores, 2026-01-02;" in text
    assert "| ms a step | LeNet-5 (128) |\n| - | - |\n| jaxcnn | 10.0 (64 %) |" in text
    assert "| Keras (on JAX) | not installed |\n| Flax (nnx) | failed |" in text
    assert "| matrix product | 50 GFLOP/s |" in text
    assert "- GPU: not run\n- versions: python 3.11, jax 0.10.2" in text


def test_start_up_lines():
    some = some_results()["startup"] | {"dispatch_jaxcnn_single": {"problem": "it crashed"}}
    lines = startup_lines(some)
    assert lines[0] == "a process that imports `jaxcnn` 0.50 s, `jax, optax` 0.50 s"
    assert lines[1] == "LeNet-5's step until it is compiled: cold 2.50 s, cached 2.50 s"
    assert lines[2] == "a step of one dense layer, plain: 31 us"
    assert lines[3] == "mnist: not run: DATA_DIR is not set"
    assert lines[4] == "dispatch_jaxcnn_single: it crashed"
    assert startup_lines({"mnist": {"read": 0.25, "to_device": 0.5}}) == [
        "MNIST from the cache to the device: 0.75 s"
    ]


def test_the_readme_is_replaced_between_its_marks(tmp_path):
    before = f"# Title\n\n{BEGIN}\nold\nlines\n{END}\n\nend\n"
    assert replace_block(before, "new\n") == f"# Title\n\n{BEGIN}\nnew\n{END}\n\nend\n"
    file = tmp_path / "README.md"
    file.write_text(before)
    update_readme(file, some_results())
    update_readme(file, some_results())  # once more changes nothing
    assert file.read_text() == replace_block(before, markdown(some_results()))


@pytest.mark.parametrize(
    "text", ["none", f"{BEGIN}\n", f"{END}\n{BEGIN}\n", f"{BEGIN}\n{BEGIN}\n{END}\n"]
)
def test_a_readme_without_marks_is_an_error(text):
    with pytest.raises(BenchmarkError, match="must have one line <!-- bench:begin -->"):
        replace_block(text, "new")


def test_names_of_files_are_safe():
    assert safe_name("cpu AMD EPYC 2 cores") == "cpu-amd-epyc-2-cores"
    assert safe_name("cpu Xeon(R) CPU @ 2.20GHz") == "cpu-xeon-r-cpu-2-20ghz"
    assert safe_name("../etc/passwd") == "etc-passwd"
    assert safe_name("///") == "unknown"


def test_what_is_known_of_the_machine(tmp_path, monkeypatch):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Some CPU: fast\n")
    assert machine.processor(cpuinfo) == "Some CPU: fast"
    assert machine.processor(tmp_path / "none")
    assert machine.cores() >= 1
    assert machine.versions()["jax"] == jax.__version__
    monkeypatch.setenv("MALLOC_TOP_PAD_", "1")
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    assert machine.settings()["MALLOC_TOP_PAD_"] == "1"
    assert machine.settings()["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:   2 kB\n")
    assert process.free_memory(str(meminfo)) == 2048
    assert process.free_memory(str(tmp_path / "none")) is None
