"""Files made to do harm: refused with a typed error, without code, connections or other files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("safetensors")
if not Path("/proc/self/clear_refs").exists():
    pytest.skip("limits of a process are set and read as Linux does", allow_module_level=True)

from tests.chaos.hostile_files import HOSTILE, IGNORED
from tests.chaos.test_fuzz import SECONDS, SPARE, run_child

pytestmark = pytest.mark.xdist_group("hostile")


@pytest.fixture(scope="module")
def reports(tmp_path_factory) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("hostile")
    given = ("--folder", str(folder))
    return {
        report["name"]: report
        for report in run_child("hostile_child", *given, folder=folder, timeout=300)
    }


def test_every_hostile_file_is_refused(reports):
    refused = [
        each.name
        for each in HOSTILE
        if reports[each.name]["got"].startswith("refused: ")
        and re.search(each.words, reports[each.name]["got"])
    ]
    print(f"{len(refused)}/{len(HOSTILE)} hostile files refused with a typed error")
    bad = {each.name: reports[each.name]["got"] for each in HOSTILE if each.name not in refused}
    assert not bad, "\n".join(f"{name}: {got}" for name, got in bad.items())
    assert len({each.name for each in HOSTILE}) == len(HOSTILE) >= 40


def test_names_that_no_reader_looks_at_change_nothing(reports):
    for each in IGNORED:
        assert reports[each.name]["got"] == "read", reports[each.name]["got"]


def test_no_file_runs_code_or_opens_another(reports):
    acted = {name: report["events"] for name, report in reports.items() if report["events"]}
    left = {name: report["outside"] for name, report in reports.items() if report["outside"]}
    print(f"{len(acted)}/{len(reports)} ran code, {len(left)}/{len(reports)} left their folder")
    assert not acted
    assert not left
    assert not any(report["canary"] for report in reports.values())


def test_no_file_takes_much_time_or_memory(reports):
    slowest = max(reports.values(), key=lambda report: report["seconds"])
    largest = max(reports.values(), key=lambda report: report["memory"])
    print(f"slowest {slowest['seconds']:.3f} s of the processor: {slowest['name']}")
    print(f"most memory {largest['memory'] / 2**20:.1f} MiB: {largest['name']}")
    assert slowest["seconds"] <= SECONDS
    for report in reports.values():
        assert report["memory"] <= 2 * report["honest"] + SPARE, report["name"]


def test_the_hook_sees_what_it_watches_for(tmp_path):
    """Or the counts above would be zero for another reason."""
    import subprocess
    import sys

    code = (
        "import sys, pickle, os, socket\n"
        "from tests.chaos.hostile_child import Watch\n"
        "from tests.chaos.hostile_kit import Boom\n"
        "w = Watch(); sys.addaudithook(w); w.folder = sys.argv[1]\n"
        "pickle.loads(pickle.dumps(Boom()))\n"
        "eval('1'); open('/dev/null').close(); os.listdir('/')\n"
        "import this_is_no_module\n"
    )
    wrapped = "try:\n" + "".join(f"    {line}\n" for line in code.splitlines())
    wrapped += "except ImportError:\n    pass\nprint(w.events, w.outside)\n"
    done = subprocess.run(
        [sys.executable, "-c", wrapped, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": ":".join([str(Path(__file__).parents[2]), *sys.path])},
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    for event in ("pickle.find_class", "os.system", "compile", "exec", "import", "open", "listdir"):
        assert event in done.stdout
    assert (tmp_path / "canary").exists()
