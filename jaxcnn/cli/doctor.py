"""`jaxcnn doctor`: what may be wrong with this machine."""

from __future__ import annotations

from pathlib import Path

from jaxcnn.doctor import Finding, examine, status, summary


def doctor(data_dir: Path | None = None, timeout: float = 180.0) -> int:
    """Checks versions, devices, cores, memory, caches, data, and trains for one step.

    Prints a line for each finding; docs/doctor.md says what they mean. The exit status is 1 if
    one of them is an error.

    Args:
      data_dir: Folder with data; without it, the usual places are looked at.
      timeout: Seconds that starting JAX and one step of training may take.
    """
    findings: list[Finding] = []
    for finding in examine(data_dir, timeout):
        print(finding, flush=True)
        findings.append(finding)
    print(summary(findings))
    return status(findings)
