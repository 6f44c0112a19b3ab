"""What a run shows while it works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text


class Screen:
    """Prints plain lines, and below them a live bar where the output is a terminal.

    A quiet one prints nothing: of several processes only the first speaks.
    """

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self.console = console or Console(highlight=False, quiet=quiet)
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(bar_width=24),
            TextColumn("step {task.completed:.0f}/{task.total:.0f}  {task.fields[numbers]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        self._epochs = 0

    def say(self, text: str = "") -> None:
        """Prints a line as it is; square brackets in it are not markup."""
        self.console.print(text, markup=False, soft_wrap=True)

    def box(self, title: str, text: str) -> None:
        """Prints something that must not be overlooked."""
        self.console.print(Panel(text, title=title, border_style="bold yellow", expand=False))

    def start(self, epochs: int, steps: int, step: int) -> None:
        """Starts the live bar."""
        self._epochs = epochs
        self._task = self._progress.add_task(
            "", total=steps, completed=step, epoch=1, epochs=epochs, numbers=""
        )
        self._progress.start()

    def stop(self) -> None:
        """Takes the live bar away."""
        self._progress.stop()

    def show_cursor(self) -> None:
        """Brings the cursor back, which a live bar hides: for a process that ends in its middle."""
        self.console.show_cursor()

    def record(self, line: Mapping[str, Any]) -> None:
        """Shows a line of the metrics log."""
        if line["kind"] == "skipped":
            steps = ", ".join(map(str, line["steps"]))
            self.say(f"not finite: batch left out at step {steps} ({line['all']} in all)")
            return
        if line["kind"] == "policy":
            back = f"back to step {line['step']}, " if line["went_back"] else ""
            self.say(f"{line['policy']}: {back}rate factor {line['rate_factor']:g}")
            return
        numbers = f"loss {line['loss']:.4f}  accuracy {100 * line['accuracy']:.2f} %"
        if line["kind"] == "eval":
            self.say(f"epoch {line['epoch']}/{self._epochs}  {line['split']} {numbers}")
            return
        numbers += f"  {line['images_per_second']:,.0f} images/s"
        epoch = min(int(line["epoch"]) + 1, self._epochs)
        self._progress.update(self._task, completed=line["step"], epoch=epoch, numbers=numbers)
        if self._progress.disable and line["epoch"] == int(line["epoch"]):
            self.say(f"epoch {int(line['epoch'])}/{self._epochs}  training {numbers}")

    def table(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Prints rows of the same columns."""
        if not rows:
            return
        table = Table(box=SIMPLE)
        for name in rows[0]:
            table.add_column(str(name))
        for row in rows:
            table.add_row(*(Text(str(value)) for value in row.values()))
        self.console.print(table)
