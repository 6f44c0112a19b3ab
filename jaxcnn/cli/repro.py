"""`jaxcnn repro`: a recorded run again, and whether it ends in the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tyro

from jaxcnn.cli import checkout
from jaxcnn.errors import ConfigError, DataError
from jaxcnn.run import RunFolder
from jaxcnn.untrusted import field

CAUSES = ("environment", "data", "prepare", "lowerings", "deterministic")
"""Parts of a record that results depend on besides the settings, which are the same."""


def repro(run: tyro.conf.Positional[Path], out: Path | None = None) -> int:
    """Runs a recorded run again with its settings and compares the final bits.

    The exit status is 0 if digests and test figures are equal, and 1 if not; what differs in
    versions, machine, data and code is printed as well.

    Args:
      run: Run folder, such as runs/lenet/20261121-121441-0.
      out: Folder below which the new run folder is made; without it, repro-of-... beside the run.
    """
    before = read(RunFolder(run))
    name = str(before["experiment"])
    root = fresh(run.parent.parent / f"repro-of-{run.name}") if out is None else fresh(out)
    status = checkout.start(name, ["--like", str(run), "--out", str(root), "--max-minutes", "None"])
    made = sorted((root / name).glob("*/record.json"))
    if not made:
        print(f"the run did not finish: status {status}")
        return 1
    after = read(RunFolder(made[-1].parent))
    lines = compare(before, after)
    print(f"\n{run} and {made[-1].parent}:")
    if not lines:
        print(f"equal, to the bit: train state {before['digest']['all']}")
        return 0
    print("\n".join(lines))
    causes = differences(before, after)
    print("what else differs:" if causes else "nothing else that is recorded differs.")
    print("\n".join(f"  {line}" for line in causes))
    if not causes:
        print("On a GPU, pass --deterministic to both.")
    return 1


def read(run: RunFolder) -> dict[str, Any]:
    """The record of a finished run.

    Raises:
      ConfigError: there is none, or it has no digest.
    """
    try:
        record = run.read_record()
    except DataError as error:
        raise ConfigError(
            f"{run.record}: no usable record: {error}\nOnly a finished run can be repeated."
        ) from error
    if not {"experiment", "digest", "test"} <= set(record):
        raise ConfigError(f"{run.record}: holds no digest: it was made by an older version.")
    field(record, "test", dict, run.record, error=ConfigError)
    digest = field(record, "digest", dict, run.record, error=ConfigError)
    for part in ("all", *digest):
        field(digest, part, str, run.record, error=ConfigError)
    return record


def fresh(folder: Path) -> Path:
    """A folder of this name that does not exist yet, or of this name and a number."""
    number, chosen = 1, folder
    while chosen.exists():
        number += 1
        chosen = folder.with_name(f"{folder.name}-{number}")
    return chosen


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs between the ends of two runs, a line each."""
    was = before["digest"]
    lines = [
        f"differs: {part} of the train state: {digest[:16]}, was {was.get(part, 'nothing')[:16]}"
        for part, digest in after["digest"].items()
        if part != "all" and digest != was.get(part)
    ]
    lines += [
        f"differs: test {name}: {after['test'].get(name)}, was {value}"
        for name, value in before["test"].items()
        if after["test"].get(name) != value
    ]
    return lines


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs in versions, machine, data and code, a line each: why bits may differ."""
    one, other = ({name: record.get(name) for name in CAUSES} for record in (before, after))
    was, now = flat(one), flat(other)
    return [
        f"{name}: {now.get(name, 'nothing')}, was {was.get(name, 'nothing')}"
        for name in dict.fromkeys([*was, *now])
        if was.get(name) != now.get(name)
    ]


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, whose names are joined by dots.

    >>> flat({"versions": {"jax": "0.10.2"}, "backend": "cpu"})
    {'versions.jax': '0.10.2', 'backend': 'cpu'}
    """
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found.update(flat(value, f"{prefix}{name}."))
        else:
            found[f"{prefix}{name}"] = value
    return found
