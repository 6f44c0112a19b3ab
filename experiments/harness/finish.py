"""After the training: test figures, pictures, record, report and verdict."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.harness import pictures
from experiments.harness.config import C, to_json
from experiments.harness.job import Experiment, Job
from experiments.harness.screen import Screen
from jaxcnn import data, metrics, report, storage
from jaxcnn.digest import digests
from jaxcnn.run import RunFolder, environment
from jaxcnn.train import Fit, make_eval_step, make_evaluator


def finish(
    experiment: Experiment[C],
    config: C,
    job: Job,
    run: RunFolder,
    result: Fit,
    table: str,
    corrupt: Sequence[str],
    screen: Screen,
    lowerings: Sequence[tuple[str, str]],
) -> bool:
    """Evaluates on the test set, writes record, pictures and report, prints the verdict.

    Args:
      experiment, config, job, run, screen: of the training.
      result: its end.
      table: the ledger.
      lowerings: how operations were computed, (operation, lowering).

    Returns:
      False if there is an expected figure and it was not met.
    """
    params, state = result.train_state.params, result.train_state.state
    began = time.perf_counter()
    evaluate = make_evaluator(
        make_eval_step(job.model, job.loss, prepare=job.prepare, precision=job.precision),
        job.test,
        config.eval_batch_size,
    )
    figures = metrics.summarize(evaluate(params, state))
    seconds = dict(result.seconds)
    seconds["eval"] += time.perf_counter() - began
    run.log({"kind": "test", "step": int(result.train_state.step), **figures})

    began = time.perf_counter()
    made = pictures.draw(
        job.model,
        params,
        state,
        test=job.shown(),
        prepare=job.precision.preparing(job.prepare),
        history=[line for line in run.history() if line["kind"] != "test"],
        first_layer=experiment.first_layer,
        maps=experiment.maps,
    )
    for file, _, content in made:
        storage.write_bytes(run.path / file, content)
    seconds["pictures"] = time.perf_counter() - began

    met = None if config.expected is None else figures["accuracy"] >= config.expected
    verdict = (
        f"test accuracy {100 * figures['accuracy']:.2f} % "
        f"({round(figures['accuracy'] * figures['count']):,} of {figures['count']:,} images of "
        f"{job.test.name})"
    )
    if config.expected is None:
        judged = "no expected figure for this data set"
    else:
        judged = f"expected >= {100 * config.expected:.2f} %: {'met' if met else 'NOT MET'}"
    title = f"{experiment.title(config)}, on {job.test.name.partition('/')[0]}"
    shown = {part: f"{value:.1f} s" for part, value in seconds.items()}
    record: dict[str, Any] = {
        "experiment": experiment.name,
        "title": title,
        "seed": config.seed,
        "data": {
            "name": job.test.name.partition("/")[0],
            "source": job.train.source,
            "train": {"examples": len(job.train), "sha256": job.train.fingerprint},
            "test": {"examples": len(job.test), "sha256": job.test.fingerprint},
            "left_out": list(corrupt),
        },
        "prepare": data.to_dict(job.prepare),
        "test": figures,
        "digest": digests(result.train_state._asdict()),
        "expected": config.expected,
        "met": met,
        "seconds": {part: round(value, 3) for part, value in seconds.items()},
        "deterministic": config.deterministic,
        "lowerings": [list(pair) for pair in lowerings],
        "environment": environment(),
    }
    page = report.render(
        title,
        result=f"{verdict}; {judged}.",
        met=met,
        pictures=[(caption, content) for _, caption, content in made],
        ledger=table,
        tables={
            "Time": shown,
            "Data": {
                "source": job.train.source,
                **{
                    part: f"{len(d):,} images, SHA-256 {d.fingerprint}"
                    for part, d in (
                        ("training", job.train),
                        *job.held_out.items(),
                        ("test", job.test),
                    )
                },
            },
            "Settings": to_json(config),
            "Environment": _flat(record["environment"]),
        },
    )
    storage.write_bytes(run.path / "report.html", page.encode())
    storage.write_json(run.record, record)  # the last file: with it the run is complete

    screen.say(f"\n{title}: {verdict}")
    screen.say(judged)
    screen.say("time: " + ", ".join(f"{part} {value}" for part, value in shown.items()))
    screen.say(f"pictures: {', '.join(str(run.path / file) for file, _, _ in made)}")
    screen.say(f"report: {run.path / 'report.html'}")
    return met is not False


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables as one, for people."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat.update(value if isinstance(value, dict) else {name: value})
    return flat
