"""`jaxcnn COMMAND`: reads the command line and starts the command."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from jaxcnn.cli.doctor import doctor
from jaxcnn.cli.replay import replay
from jaxcnn.cli.repro import repro
from jaxcnn.errors import ConfigError, JaxcnnError, explain

COMMANDS: dict[str, Callable[..., int]] = {"doctor": doctor, "repro": repro, "replay": replay}

EXIT_FAILED, EXIT_USAGE = 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns the exit status."""
    import tyro  # takes a fifth of a second

    given: Any = sys.argv[1:] if arguments is None else list(arguments)
    try:
        return tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="jaxcnn",
            description="Looks after jaxcnn and its runs.",
            args=given,
        )
    except ConfigError as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return EXIT_USAGE
    except JaxcnnError as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return EXIT_FAILED
