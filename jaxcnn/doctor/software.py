"""Checks of what is installed and what is set."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata

from jaxcnn.doctor.finding import Finding
from jaxcnn.settings import VARIABLES

OLDEST_PYTHON = (3, 11)

OLDEST = {"jax": (0, 10), "jaxlib": (0, 10), "flax": (0, 12), "optax": (0, 2, 6)}
"""The oldest version that jaxcnn works with, as in pyproject.toml."""

PLUGINS = (
    "jax-cuda12-plugin",
    "jax-cuda12-pjrt",
    "jax-cuda13-plugin",
    "jax-cuda13-pjrt",
)
"""What makes JAX use an NVIDIA GPU; must be as new as jaxlib."""


def installed() -> dict[str, str | None]:
    """The versions of all packages that are looked at; None where one is missing."""
    versions: dict[str, str | None] = {}
    for name in (*OLDEST, *PLUGINS):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def python(version: tuple[int, ...]) -> Finding:
    """Whether Python is new enough."""
    shown = ".".join(map(str, version))
    if version[:2] < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        return Finding("error", "python", f"{shown} is too old: use {oldest} or newer")
    return Finding("ok", "python", shown)


def packages(versions: Mapping[str, str | None]) -> list[Finding]:
    """Whether the libraries are there, new enough, and fit each other.

    Args:
      versions: as `installed` gives them.
    """
    findings = []
    for name, oldest in OLDEST.items():
        got = versions.get(name)
        least = ".".join(map(str, oldest))
        if got is None:
            findings.append(Finding("error", name, f"is missing: pip install '{name}>={least}'"))
        elif _numbers(got) < oldest:
            text = f"{got} is too old: pip install --upgrade '{name}>={least}'"
            findings.append(Finding("error", name, text))
        else:
            findings.append(Finding("ok", name, got))
    ours, theirs = versions.get("jax"), versions.get("jaxlib")
    if ours and theirs and ours != theirs:
        text = f"jax is {ours} but jaxlib is {theirs}: pip install 'jax=={ours}' 'jaxlib=={ours}'"
        findings.append(Finding("error", "jax, jaxlib", text))
    for name in PLUGINS:
        got = versions.get(name)
        if got and theirs and _numbers(got)[:3] != _numbers(theirs)[:3]:
            extra = name.split("-")[1]
            text = f"{got} does not fit jaxlib {theirs}: pip install 'jax[{extra}]=={theirs}'"
            findings.append(Finding("error", name, text))
        elif got:
            findings.append(Finding("ok", name, got))
    return findings


def variables(environment: Mapping[str, str]) -> list[Finding]:
    """Which environment variables change results or speed."""
    found = [
        Finding("warning", name, f"is set to {environment[name]!r}: it decides {what}")
        for name, what in VARIABLES.items()
        if environment.get(name)
    ]
    return found or [Finding("ok", "variables", "none is set that changes results")]


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: (0, 10, 2) of "0.10.2.dev3"."""
    numbers = []
    for part in version.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
