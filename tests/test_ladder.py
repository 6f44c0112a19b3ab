"""The ladder: every experiment and study says what it is, and the tables equal their records."""

import ast
import dataclasses
import importlib
import re

import pytest

import jaxcnn
from experiments import ladder, tables
from experiments.harness import records
from experiments.harness.config import resolve
from experiments.harness.job import Experiment
from experiments.harness.study import Study
from jaxcnn.errors import DataError

FILES = sorted(
    path
    for path in (records.ROOT / "experiments").glob("*.py")
    if re.search(r"^(EXPERIMENT|STUDY) = ", path.read_text(), re.MULTILINE)
)
PAGES = [records.ROOT / "README.md", *sorted((records.ROOT / "docs").rglob("*.md"))]
MODULES = {path.stem: importlib.import_module(f"experiments.{path.stem}") for path in FILES}


def test_there_are_all_that_the_decks_ask_for():
    assert MODULES.keys() >= {
        "logistic", "mlp", "lenet", "lenet_1998", "lenet_distortions", "small_cnn", "deck_c",
        "deck_d_mnist", "deck_d_cifar", "resnet20", "alexnet", "optimizers", "activations",
        "dropout", "batch_size", "network_size", "batch_norm", "fine_tune", "universal", "ravine",
    }  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_docstring_gives_command_figure_and_time(path):
    lines = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()
    heads = [line.split(":")[0] for line in lines if re.match(r"[A-Z][a-z]+: ", line)]
    assert set(heads) >= {"Command", "Expected", "Time"}
    assert f"make train-{path.stem}" in lines[2]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_command_on_a_page_exists(page):
    for name in re.findall(r"make train-([a-z]\w*)", page.read_text()):
        assert name in MODULES, f"{page.name}: make train-{name}"


@pytest.mark.parametrize("name", MODULES)
def test_its_name_is_its_files(name):
    found = getattr(MODULES[name], "EXPERIMENT", None) or MODULES[name].STUDY
    assert isinstance(found, Experiment | Study)
    assert found.name == name
    assert found.config().out.name == "runs"


@pytest.mark.parametrize(
    "name", [n for n, m in MODULES.items() if hasattr(m, "EXPERIMENT") and "resnet50" not in n]
)
def test_its_network_fits_its_images_and_pictures(name):
    experiment = MODULES[name].EXPERIMENT
    config = experiment.config()
    shape = {"alexnet": (227, 227, 3)}.get(name, (28, 28, 1))
    if getattr(config, "data", "") == "cifar10":
        shape = (32, 32, 3)
    recipe = next(iter(experiment.recipes.values()))
    config, _ = resolve(config, recipe)
    table = jaxcnn.ledger(experiment.model(config, shape, 10), shape)
    paths = [row.path for row in table.rows]
    assert experiment.first_layer in paths
    found = {path for path in experiment.maps if any(p.startswith(path) for p in paths)}
    assert found == set(experiment.maps)


class TestRungs:
    def test_every_rung_is_an_experiment(self):
        for rung in ladder.RUNGS:
            module = MODULES[rung.module]
            assert hasattr(module, "STUDY") == (rung.seeds == 0), rung.name
            assert bool(rung.what) == bool(rung.seeds), rung.name

    def test_an_unknown_rung_is_status_2(self, capsys):
        assert ladder.main(["no-such-rung"]) == 2
        assert "rung 'no-such-rung' is unknown: use any of logistic," in capsys.readouterr().err

    def test_a_rung_is_climbed_and_not_twice(self, tmp_path, monkeypatch, capfd):
        rung = ladder.Rung("tiny", "logistic", "logistic regression", seeds=1, least=0.5)
        rung = rung._replace(flags=("--epochs", "1", "--expected", "0"))
        monkeypatch.setattr(ladder, "RUNGS", (rung,))
        monkeypatch.setattr(ladder, "_DATA", "digits")
        given = ["--out", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
        assert ladder.main(given) == 0
        record = records.read_all(tmp_path / "results")["tiny"]
        assert [run["seed"] for run in record["runs"]] == [0]
        assert record["mean"] == record["runs"][0]["accuracy"]
        assert record["met"] == (record["mean"] >= 0.5)
        assert record["config"]["epochs"] == 1
        capfd.readouterr()
        assert ladder.main(given) == 0
        assert "is complete" in capfd.readouterr().out
        assert len(list((tmp_path / "runs" / "tiny" / "logistic").iterdir())) == 1


class TestTables:
    def test_the_pages_equal_the_records(self):
        for path, text in tables.made().items():
            assert path.read_text() == text, f"{path.name}: run `make results`"

    def test_every_record_is_of_a_rung_and_has_what_the_table_shows(self):
        rungs = {rung.name: rung for rung in ladder.RUNGS}
        for name, record in records.read_all().items():
            assert record["rung"] == name
            assert record["command"] == ladder.command(rungs[name])
            assert record["environment"]["versions"]["jax"]
            if record["kind"] == "training":
                assert record["asked"] == rungs[name].least
                assert [run["seed"] for run in record["runs"]] == list(range(rungs[name].seeds))
                accuracies = [run["accuracy"] for run in record["runs"]]
                assert record["mean"] == pytest.approx(sum(accuracies) / len(accuracies))
                met = record["asked"] is None or record["mean"] >= record["asked"]
                assert record["met"] in (met, None)

    def test_a_page_without_the_marks_is_an_error(self):
        with pytest.raises(DataError, match=r"page.md: .* must be there once each"):
            records.filled("no marks", "table", "page.md")

    def test_an_experiment_that_misses_is_said_to(self):
        run = {
            "seed": 0,
            "test": {"accuracy": 0.5, "count": 10, "loss": 1.0},
            "seconds": {"train": 1.0},
            "digest": {"all": "ab"},
            "data": {"name": "cifar10", "source": "/home/somebody/cifar10"},
            "environment": {
                "processor": "p", "cores": 2, "python": "3.11", "versions": {"jax": "0.10.2"},
            },
        }  # fmt: skip
        record = records.of_runs("r", "a net", "make it", 0.6, [({"seed": 0}, run)])
        text = records.training_table({"r": record}, ["r"])
        assert "| a net | `make it` | 60.00 % | 50.00 % of 1 [^jpeg] | not met |" in text
        assert "somebody" not in records.dumps(record)
        assert "JPEG" in records.note({"r": record})


def test_configs_can_be_written_down():
    """Every setting of a study is a JSON value, and a tuple of numbers at most."""
    for module in MODULES.values():
        study = getattr(module, "STUDY", None)
        if study is not None:
            for field in dataclasses.fields(study.config):
                value = getattr(study.config(), field.name)
                assert (
                    value is None
                    or isinstance(value, int | float | str | tuple)
                    or (field.name in ("out", "data_dir"))
                )
