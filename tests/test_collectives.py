"""What a step exchanges: reading compiled text, and what is in it."""

from __future__ import annotations

import contextlib
import functools

import jax
import pytest

import jaxcnn
from benchmarks import scaling
from benchmarks.cases import CASES, DEVICES, WAYS
from benchmarks.collectives import KINDS, Exchange, exchanges, sent_bytes, volume
from benchmarks.predict import EXCHANGES_PER_NORM
from benchmarks.replicas import compile_step, exchanged, parameters
from benchmarks.results import BenchmarkError
from jaxcnn import data, losses, nn, optim, train
from jaxcnn.errors import ConfigError
from jaxcnn.parallel.plan import Plan, plan
from jaxcnn.train.evaluate import make_evaluator

TEXT = """
HloModule jit_advance, entry_computation_layout={(f32[6]{0})->f32[6]{0}}

%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%a, %b)
}

ENTRY %main {
  %all-reduce.1 = f32[] all-reduce(%x), channel_id=1, replica_groups={{0,1}}, to_apply=%add
  %all-reduce.2 = (f32[5,5,1,6]{3,2,1,0}, /*index=1*/f32[6]{0}, s32[]) all-reduce(%a, %b, %c)
  %gte = f32[6]{0} get-tuple-element(%all-reduce.2), index=1
  ROOT %ar = bf16[2,8]{1,0:T(8,128)(2,1)} all-reduce-start(%d), metadata={op_name="all-gather(x)"}
  %done = bf16[2,8]{1,0} all-reduce-done(%ar)
  all-gather.7 = f32[16]{0} all-gather(%e), dimensions={0}
}
"""


def test_reading_the_text():
    found = exchanges(TEXT)
    assert found == [
        Exchange("all-reduce", (("f32", ()),)),
        Exchange("all-reduce", (("f32", (5, 5, 1, 6)), ("f32", (6,)), ("s32", ()))),
        Exchange("all-reduce", (("bf16", (2, 8)),)),
        Exchange("all-gather", (("f32", (16,)),)),
    ]
    assert [each.bytes for each in found] == [4, 600 + 24 + 4, 32, 64]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_seen(kind):
    (found,) = exchanges(f"  ROOT %x.1 = f32[3]{{0}} {kind}(%p), channel_id=1")
    assert (found.kind, found.bytes) == (kind, 12)
    assert exchanges(f"  %x.1 = f32[3]{{0}} add(%{kind}.2, %b)") == []


@pytest.mark.parametrize(
    ("dtype", "width"), [("f32", 4), ("bf16", 2), ("s64", 8), ("pred", 1), ("f8e4m3fn", 1)]
)
def test_widths(dtype, width):
    (found,) = exchanges(f"  %x = {dtype}[10]{{0}} all-reduce(%p)")
    assert found.bytes == 10 * width


def test_what_is_a_gradient_and_what_is_not():
    found = [
        Exchange("all-reduce", (("f32", ()),)),
        Exchange("all-reduce", (("f32", (16,)), ("f32", ()))),
        Exchange("all-reduce", (("f32", (9, 16)), ("f32", (16,)), ("f32", ()))),
    ]
    seen = volume(found, [144], [16])
    assert seen.operations == {"all-reduce": 3}
    assert seen.kernel_operations == 1
    assert (seen.gradient_bytes, seen.statistics_bytes, seen.count_bytes) == (640, 64, 12)
    assert seen.bytes == sum(each.bytes for each in found)
    assert seen.missing == []
    assert volume(found, [144], [16, 16, 16]).missing == [16]
    assert volume([Exchange("all-gather", (("f32", (144,)),))], [144]).missing == [144]


def test_bytes_around_a_ring():
    """Counted: each device hands n - 1 parts on while they are summed, and n - 1 sums."""
    for devices in (1, 2, 3, 8):
        parts, size = 0, 840
        for _ in ("reduce", "gather"):
            parts += devices - 1
        assert sent_bytes(size, devices) == pytest.approx(parts * size / devices)


# --- compiled steps

# The first convolution and pooling are those that the CPU computes in ways of its own.
PLAIN = nn.chain(
    conv=nn.Conv(6, 5, padding=2), act=nn.relu, pool=nn.MaxPool(2), drop=nn.Dropout(0.3),
    conv2=nn.Conv(8, 3), flatten=nn.Flatten(), fc=nn.Dense(10),
)  # fmt: skip
LAYERS = 2
NORM = nn.chain(
    conv=nn.Conv(8, 3, bias=False), norm=nn.BatchNorm(), act=nn.relu,
    conv2=nn.Conv(8, 3, bias=False), norm2=nn.BatchNorm(), act2=nn.relu,
    flatten=nn.Flatten(), fc=nn.Dense(10),
)  # fmt: skip


@functools.cache
def compiled(model, way):
    return compile_step(model, (12, 12, 1), 16, way, 8, abstract=True)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", [PLAIN, NORM], ids=["plain", "norm"])
def test_gradients_are_exchanged_once_and_nothing_is_gathered(model, way):
    found = exchanged(compiled(model, way))
    assert set(found.operations) == {"all-reduce"}
    assert found.missing == []
    assert found.gradient_bytes == 4 * parameters(compiled(model, way))


@pytest.mark.parametrize("way", WAYS)
def test_all_gradients_go_in_one_operation(way):
    assert exchanged(compiled(PLAIN, way)).kernel_operations == 1


@pytest.mark.parametrize("way", WAYS)
def test_the_rest_is_counts_and_statistics(way):
    plain, norm = (exchanged(compiled(model, way)) for model in (PLAIN, NORM))
    assert plain.statistics_bytes == 0
    assert 8 <= plain.count_bytes <= 32
    # The number of rows, which the loss is divided by; the counts; the gradients and the loss.
    assert plain.operations["all-reduce"] == 3
    # Of each channel two sums forward, and backward two that are needed (XLA keeps three).
    channels = LAYERS * 8
    assert 4 * 4 * channels <= norm.statistics_bytes <= 5 * 4 * channels
    # What `predict` takes them to cost: the rows travel with the first of the means. Gradients
    # have one operation of their own, or one for each dtype of what goes with them; those that are
    # ready early may go along with statistics.
    assert 2 <= norm.operations["all-reduce"] - EXCHANGES_PER_NORM * LAYERS <= 3


def test_ours_for_the_cpu_would_be_gathered(monkeypatch):
    """Why `Plan.operations` is there."""
    monkeypatch.setattr(Plan, "operations", lambda plan: contextlib.nullcontext())
    step = compile_step(PLAIN, (12, 12, 1), 16, "jit", 8, abstract=True)
    assert "all-gather" in exchanged(step).operations


@pytest.mark.parametrize(
    ("way", "settings"),
    [
        ("jit", {}),
        ("shard_map", {}),
        ("pmap", {}),
        ("shard_map", {"accumulate": 2}),
    ],
)
def test_the_whole_program_of_fit(small, monkeypatch, way, settings):
    """With its order of examples, augmentation and counts."""
    programs = []

    def keep(plan, *arguments, **options):
        programs.append(compile_(plan, *arguments, **options))
        return programs[-1]

    compile_ = Plan.compile
    monkeypatch.setattr(Plan, "compile", keep)
    result = train.fit(
        PLAIN, small.train, loss=losses.softmax_cross_entropy, epochs=1, batch_size=16, seed=0,
        optimizer=optim.optimizer("sgd", 0.01), prepare=data.Scale(), augment=data.Shift(1),
        parallel=way, devices=jax.devices(), **settings,
    )  # fmt: skip
    leaves = jax.tree.leaves(result.train_state.params)
    kernels = [leaf.size for leaf in leaves if leaf.ndim > 1]
    found = [exchanges(program.as_text()) for program in programs]
    assert {each.kind for program in found for each in program} == {"all-reduce"}
    seen = volume(found[-1], kernels, [leaf.size for leaf in leaves if leaf.ndim == 1])
    assert (seen.kernel_operations, seen.missing, seen.statistics_bytes) == (1, [], 0)


@pytest.mark.parametrize("way", WAYS)
def test_evaluation_exchanges_counts_alone(small, way):
    layout = plan(way, 16, jax.devices())
    step = train.make_eval_step(PLAIN, losses.softmax_cross_entropy, prepare=data.Scale())
    evaluate = make_evaluator(step, small.test, 16, layout)
    params, state = layout.replicate(jaxcnn.init(PLAIN, jax.random.key(0), (12, 12, 1)))
    found = exchanges(jax.jit(evaluate).lower(params, state).compile().as_text())
    assert {each.kind for each in found} == {"all-reduce"}
    assert sum(each.bytes for each in found) <= 32


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lenet", "resnet20"])
def test_the_study_itself(name):
    found = scaling.measure(name, 8)
    for way in WAYS:
        row = found["ways"][way]
        assert set(row["operations"]) == {"all-reduce"}
        assert row["gradient_bytes"] == 4 * found["parameters"]


# --- the command


def row(**changes):
    values = {
        "operations": {"all-reduce": 2}, "kernel_operations": 1, "gradient_bytes": 40,
        "statistics_bytes": 0, "count_bytes": 4, "missing": [], "difference": 1e-7,
    }  # fmt: skip
    return {**values, **changes}


def found(devices=8, **changes):
    return {"devices": devices, "parameters": 10, "ways": {way: row(**changes) for way in WAYS}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"difference": 0.5}, "LeNet-5, jit on 8 devices: after 3 steps the parameters differ"),
        ({"difference": float("nan")}, "the parameters differ from one device's by nan"),
        ({"operations": {"all-gather": 1}}, "only all-reduce is expected"),
        ({"missing": [144]}, r"no all-reduce carries the gradients of parameters of \[144\]"),
    ],
)
def test_what_must_hold(changes, message):
    scaling.require(CASES["lenet"], found())
    scaling.require(CASES["alexnet"], found(difference=None))
    scaling.require(CASES["lenet"], found(devices=1, operations={}, missing=[10]))
    with pytest.raises(BenchmarkError, match=message):
        scaling.require(CASES["lenet"], found(**changes))


def test_the_table():
    text = scaling.table({"networks": {"lenet": [found()], "alexnet": [found(difference=None)]}})
    lines = text.splitlines()
    assert len(lines) == 2 + 2 * len(WAYS)
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells == ["LeNet-5", "8", "jit", "1e-07", "2", "1", "40", "40", "0", "4", "77"]
    assert "| not run |" in lines[-1]


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="network 'vgg' is unknown: use any of lenet, resnet20"):
        scaling.check(scaling.Settings(networks=("vgg",)))
    with pytest.raises(ConfigError, match="devices=0 is not allowed"):
        scaling.check(scaling.Settings(devices=(8, 0)))
    assert scaling.main(["--networks", "vgg"]) == 2


def test_the_command_writes_what_it_prints(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(scaling, "run_json", lambda *_, limit: found())
    out = tmp_path / "scaling.json"
    status = scaling.main(["--networks", "lenet", "--devices", "8", "--out", str(out)])
    assert status == 0
    assert scaling.load(out)["networks"] == {"lenet": [found()]}
    capsys.readouterr()
    assert scaling.main(["--networks", "alexnet", "--out", str(out)]) == 0  # lenet stays
    results = scaling.load(out)
    assert results["networks"] == {"lenet": [found()], "alexnet": [found()]}
    assert scaling.table(results) in capsys.readouterr().out


def test_a_wrong_result_ends_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(scaling, "run_json", lambda *_, limit: found(difference=1.0))
    out = tmp_path / "scaling.json"
    assert scaling.main(["--networks", "lenet", "--devices", "8", "--out", str(out)]) == 1
    assert "the parameters differ" in capsys.readouterr().err
    assert not out.exists()


def test_every_case_divides_over_every_number_of_devices():
    assert all(case.batch % devices == 0 for case in CASES.values() for devices in DEVICES)
