"""The records of the ladder, and the tables that are made from them.

`experiments/results/RUNG.json` is written by `experiments.ladder` from the `record.json` of the
runs themselves. README.md and docs/results.md hold tables between two marks that are
made from these files alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.harness.choose import deviation, mean
from jaxcnn.errors import DataError
from jaxcnn.untrusted import read_json

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / "experiments" / "results"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"

Record = dict[str, Any]


def of_runs(
    rung: str, what: str, command: str, least: float | None, runs: Sequence[tuple[Record, Record]]
) -> Record:
    """The record of a rung from the runs of its seeds.

    Args:
      rung: its name.
      what: one line for the table.
      command: what makes one run.
      least: mean test accuracy that is asked, if any.
      runs: `config.json` and `record.json` of each seed.
    """
    accuracies = [record["test"]["accuracy"] for _, record in runs]
    config, record = runs[0]
    per_run = ("seed", "out", "resume", "data_dir", "expected")
    return {
        "rung": rung,
        "kind": "training",
        "what": what,
        "command": command,
        "asked": least,
        "mean": mean(accuracies),
        "deviation": deviation(accuracies),
        "met": None if least is None else mean(accuracies) >= least,
        "runs": [
            {
                "seed": record["seed"],
                "accuracy": record["test"]["accuracy"],
                "images": record["test"]["count"],
                "loss": record["test"]["loss"],
                "train_seconds": record["seconds"]["train"],
                "digest": record["digest"]["all"],
            }
            for _, record in runs
        ],
        "config": {k: v for k, v in config.items() if k not in per_run},
        "data": record["data"] | {"source": Path(record["data"]["source"]).name},
        "environment": record["environment"],
    }


def of_study(rung: str, command: str, record: Record) -> Record:
    """The record of a study."""
    data = dict(record["data"])
    if "source" in data:
        data["source"] = Path(data["source"]).name  # where it lay is of no interest to others
    return {"rung": rung, "kind": "study", "command": command, **record, "data": data}


def read_all(folder: Path = RESULTS) -> dict[str, Record]:
    """All records, by rung."""
    return {path.stem: read_json(path, error=DataError) for path in sorted(folder.glob("*.json"))}


def training_table(records: dict[str, Record], order: Sequence[str]) -> str:
    """One row for each rung that trains one kind of network."""
    lines = [
        "| network | command | asked | test accuracy, mean (deviation) of the seeds | |",
        "| - | - | - | - | - |",
    ]
    for rung in order:
        record = records.get(rung)
        if record is None or record["kind"] != "training":
            continue
        asked = "-" if record["asked"] is None else f"{100 * record['asked']:.2f} %"
        verdict = {True: "met", False: "not met", None: ""}[record["met"]]
        seeds = len(record["runs"])
        spread = f" ({100 * record['deviation']:.2f}) of {seeds}" if seeds > 1 else " of 1"
        note = " [^jpeg]" if record["data"]["name"] == "cifar10" else ""
        lines.append(
            f"| {record['what']} | `{record['command']}` | {asked} | "
            f"{100 * record['mean']:.2f} %{spread}{note} | {verdict} |"
        )
    return "\n".join(lines)


def study_table(records: dict[str, Record], order: Sequence[str]) -> str:
    """One row for each study: its command and its answer."""
    lines = ["| question | command | answer |", "| - | - | - |"]
    for rung in order:
        record = records.get(rung)
        if record is not None and record["kind"] == "study":
            lines.append(f"| {record['title']} | `{record['command']}` | {record['answer']} |")
    return "\n".join(lines)


def grid(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of the same columns as a table."""
    head = list(rows[0])
    lines = [f"| {' | '.join(head)} |", "|" + " - |" * len(head)]
    lines += ["| " + " | ".join(str(row[name]) for name in head) + " |" for row in rows]
    return "\n".join(lines)


def _cores(record: dict[str, Any]) -> str:
    count = record["environment"]["cores"]
    return f"{count} core" if count == 1 else f"{count} cores"


def note(records: dict[str, Record]) -> str:
    """What holds for all rows: machine, versions, data."""
    places = sorted(
        {
            f"{r['environment']['processor']}, {_cores(r)}, "
            f"JAX {r['environment']['versions']['jax']}, Python {r['environment']['python']}"
            for r in records.values()
        }
    )
    text = "Measured on " + "; ".join(places) + "."
    if any(r["data"].get("name") == "cifar10" for r in records.values()):
        text += (
            "\n\n[^jpeg]: CIFAR-10 whose images were stored as JPEG on the way: harder than the "
            "original pixels, and not to be compared with published figures."
        )
    return text


def readme(records: dict[str, Record], order: Sequence[str]) -> str:
    """What stands in README.md."""
    return "\n\n".join([training_table(records, order), study_table(records, order), note(records)])


def page(records: dict[str, Record], order: Sequence[str]) -> str:
    """What stands in docs/results.md: the tables, every run, and every study's own table."""
    times = "Times are wall time of the training steps, often with other trainings beside them."
    parts = [readme(records, order), "## Every run", times]
    rows = [
        {
            "network": record["what"],
            "seed": run["seed"],
            "test accuracy": f"{100 * run['accuracy']:.2f} %",
            "test loss": f"{run['loss']:.4f}",
            "training": f"{run['train_seconds']:.0f} s",
        }
        for record in (records[rung] for rung in order if rung in records)
        if record["kind"] == "training"
        for run in record["runs"]
    ]
    parts.append(grid(rows) if rows else "")
    for rung in order:
        record = records.get(rung)
        if record is not None and record["kind"] == "study":
            title = record["title"]
            parts += [f"## {title[:1].upper() + title[1:]}", record["answer"], grid(record["rows"])]
            if record["claims"]:
                claims = [
                    {
                        "claim": c["what"],
                        "asked": c["asked"],
                        "measured": c["measured"],
                        "holds": "yes" if c["met"] else "no",
                    }
                    for c in record["claims"]
                ]
                parts.append(grid(claims))
    return "\n\n".join(part for part in parts if part)


def filled(text: str, content: str, name: str) -> str:
    """`text` with `content` between the marks.

    Raises:
      DataError: the marks are not there, once each and in order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(END) < text.index(BEGIN):
        raise DataError(f"{name}: {BEGIN} and {END} must be there once each, in this order.")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


def dumps(record: Record) -> str:
    """A record as the text of its file."""
    return json.dumps(record, indent=1, allow_nan=False) + "\n"
