"""The JSON of results as tables: on the screen, in Markdown, and into the README."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.block import Block

BLOCK = Block("bench")
BEGIN, END = BLOCK.begin, BLOCK.end
Json = Mapping[str, Any]


def safe_name(device: str) -> str:
    """A device's name as the name of a file.

    >>> safe_name("cpu AMD EPYC 2 cores"), safe_name("gpu NVIDIA H100 80GB HBM3")
    ('cpu-amd-epyc-2-cores', 'gpu-nvidia-h100-80gb-hbm3')
    """
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-") or "unknown"


def network_table(network: Json) -> str:
    """One network as lines for the screen."""
    base = _base(network)
    head = [
        "library",
        "ms a step (min..max)",
        "images/s",
        f"time / {base['label'] if base else '-'}",
        "share",
        "1st step s",
        "peak MiB",
    ]
    cells, problems = [head], []
    for row in network["rows"]:
        if "problem" in row:
            first, *more = row["problem"].splitlines()
            cells.append([row["label"], first if not more else "failed, see below"] + [""] * 5)
            problems += [row["problem"]] if more else []
            continue
        step = row["milliseconds"]
        cells.append(
            [
                row["label"],
                f"{_number(step['median'])} ({_number(step['min'])}..{_number(step['max'])})",
                f"{row['images_per_second']:,.0f}",
                f"{_ratio(row, base):.2f}" if base else "-",
                _percent(row["share"]),
                f"{row['first_step_seconds']:.1f}",
                _mebibytes(row),
            ]
        )
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    rate = network["matrix_gflops"]
    title = (
        f"{network['title']}, batch {network['batch']}, {_size(network['input'])}: "
        f"{network['parameters']:,} parameters, {network['macs']:,} multiply-adds an image; "
        + (f"matrix product {rate['median']:,.0f} GFLOP/s" if rate else "no matrix product")
    )
    return "\n".join([title, lines[0], "-" * max(map(len, lines)), *lines[1:], *problems])


def startup_lines(startup: Json) -> list[str]:
    """What was measured besides steps, a line each."""
    lines = []
    for name, part in startup.items():
        if "problem" in part:
            lines.append(f"{name}: {part['problem']}")
        elif name == "import":
            listed = ", ".join(f"`{each}` {value['median']:.2f} s" for each, value in part.items())
            lines.append(f"a process that imports {listed}")
        elif name == "compile":
            listed = ", ".join(
                f"{each} {value['trace'] + value['compile']:.2f} s" for each, value in part.items()
            )
            lines.append(f"LeNet-5's step until it is compiled: {listed}")
        elif name == "mnist":
            seconds = part["read"] + part["to_device"]
            lines.append(f"MNIST from the cache to the device: {seconds:.2f} s")
        elif name == "epoch":
            text = "from the start of a process to LeNet-5 trained for an epoch of MNIST"
            lines.append(f"{text}, caches filled: {part['median']:.1f} s")
        else:
            label = name.removeprefix("dispatch_")
            lines.append(f"a step of one dense layer, {label}: {part['median']:.0f} us")
    return lines


def markdown(results: Json) -> str:
    """The README's table: libraries by networks, and where it was measured."""
    networks = results["networks"]
    names: dict[str, str] = {}
    for network in networks.values():
        names |= {row["name"]: row["label"] for row in network["rows"]}
    head = ["ms a step"] + [
        f"{network['title']} ({network['batch']})" for network in networks.values()
    ]
    lines = [head, ["-"] * len(head)]
    for name, label in names.items():
        rows = [_row(network, name) for network in networks.values()]
        lines.append([label, *map(_cell, rows)])
    rates = [network["matrix_gflops"] for network in networks.values()]
    lines.append(
        ["matrix product", *(f"{rate['median']:,.0f} GFLOP/s" if rate else "-" for rate in rates)]
    )
    machine = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    text = [
        f"Medians of {results['rounds']} rounds on {machine['device']}, {results['date'][:10]}; "
        "batch sizes in parentheses; behind a time the share of the rate of a 2048x2048 matrix",
        "product that it reaches. Forward, backward and SGD with momentum, float32. A row is one",
        "process; the rounds alternate between them.",
        "",
        *(f"| {' | '.join(line)} |" for line in lines),
        "",
        *(f"- {line}" for line in startup_lines(results["startup"])),
        *(f"- {name}: {reason}" for name, reason in results["not_run"].items()),
        f"- versions: {versions}",
    ]
    return "\n".join(text)


def replace_block(readme: str, text: str) -> str:
    """Puts `text` between the lines `BEGIN` and `END` of `readme`. Raises as `Block.replace`."""
    return BLOCK.replace(readme, text, "README.md")


def update_readme(path: Path, results: Json) -> None:
    """Replaces the table in a README, atomically. Raises as `replace_block`."""
    BLOCK.update(path, markdown(results))


def _base(network: Json) -> Json | None:
    """What times are compared with: PyTorch, or plain JAX where that was not measured."""
    for name in ("torch", "plain"):
        row = _row(network, name)
        if row is not None and "problem" not in row:
            return row
    return None


def _row(network: Json, name: str) -> Json | None:
    return next((row for row in network["rows"] if row["name"] == name), None)


def _ratio(row: Json, base: Json) -> float:
    return float(row["milliseconds"]["median"] / base["milliseconds"]["median"])


def _cell(row: Json | None) -> str:
    if row is None:
        return "-"
    if "problem" in row:
        problem = row["problem"]
        return "failed" if "\n" in problem else str(problem)
    share = f" ({_percent(row['share'])})" if row["share"] is not None else ""
    return _number(row["milliseconds"]["median"]) + share


def _number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def _mebibytes(row: Json) -> str:
    device = row["device_peak_bytes"]
    text = f"{row['peak_bytes'] / 2**20:,.0f}"
    return text if device is None else f"{text}, GPU {device / 2**20:,.0f}"


def _size(shape: list[int]) -> str:
    return "x".join(map(str, shape))
