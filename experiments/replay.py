"""Repeating a step that was not finite: `make replay BUNDLE=runs/lenet/.../faults/step-...`.

Restores what the step started from, repeats it layer by layer, and says where numbers grow and
which are the first that are not finite.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import tyro

from experiments.harness.config import Config, from_json
from experiments.harness.find import find_experiment
from experiments.harness.job import prepare
from experiments.harness.resume import train_state_spec
from experiments.harness.runner import EXIT_FAILED, EXIT_MET
from experiments.harness.screen import Screen
from jaxcnn import replay
from jaxcnn.errors import CheckpointError, JaxcnnError, explain
from jaxcnn.run import RunFolder
from jaxcnn.train import find_fault, largest
from jaxcnn.untrusted import field


@dataclasses.dataclass(frozen=True)
class Settings:
    """Repeats a step that was not finite."""

    bundle: tyro.conf.Positional[Path]
    """Folder of the step, in faults/ of a run."""
    data_dir: Path | None = None
    """Folder with the data; None: where the run found it."""


def main(arguments: list[str] | None = None) -> int:
    """Prints what is found; the exit status is 0 if it is what was found before."""
    settings = tyro.cli(Settings, prog="python -m experiments.replay", args=arguments)
    try:
        return _repeat(settings, Screen())
    except JaxcnnError as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return EXIT_FAILED


def _repeat(settings: Settings, screen: Screen) -> int:
    about = replay.about(settings.bundle)
    name = field(about, "experiment", str, settings.bundle, error=CheckpointError)
    experiment = find_experiment(name)
    run = RunFolder(settings.bundle.resolve().parent.parent)
    config: Config = from_json(experiment.config, run.config)
    if settings.data_dir is not None:
        config = dataclasses.replace(config, data_dir=settings.data_dir)
    config, _, job = prepare(experiment, config, screen)
    if about.get("fingerprint") != job.train.fingerprint:
        raise CheckpointError(
            f"{settings.bundle}: was made with other data than {job.train.source} holds.\n"
            "Pass the --data-dir of its run."
        )
    fault = replay.load(settings.bundle, train_state_spec(job, config))
    ready = job.precision.preparing(job.prepare)
    screen.say(f"\nstep {fault.step}, {len(fault.batch.labels)} examples; largest magnitudes:")
    for name, value in largest(job.model, fault, ready):
        screen.say(f"  {name:<32} {value:.4g}")
    place = find_fault(
        job.model, job.loss, fault.train_state, fault.batch, fault.key, ready, job.optimizer
    )
    screen.say(f"first not finite: {place}")
    if place != fault.place:
        screen.say(f"when it happened: {fault.place}")
    return EXIT_MET if place == fault.place else EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
