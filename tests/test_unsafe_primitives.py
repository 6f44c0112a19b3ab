"""Nothing in jaxcnn or the experiments can run what a file says, and nothing needs a network."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*(ROOT / "jaxcnn").rglob("*.py"), *(ROOT / "experiments").rglob("*.py")])

MODULES = {
    *("pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"),
    *("yaml", "jsonpickle", "msgpack", "h5py", "tarfile", "code", "codeop", "runpy", "telnetlib"),
}
BUILTINS = {"eval", "exec", "compile", "__import__"}
METHODS = {"extractall", "extract", "unpack_archive", "literal_eval", "getoutput", "popen"}
LOADERS = {"load", "loadtxt", "genfromtxt", "fromfile", "memmap", "open_memmap"}

# (file, what) that is right where it stands, with the reason.
ALLOWED = {
    ("experiments/harness/find.py", "import_module"): "of an identifier, below `experiments` only",
}


def unsafe(tree: ast.AST) -> list[tuple[int, str]]:
    """(line, what) of everything that could run or load what a file says."""
    found = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [(node.module or "").partition(".")[0]]
        found += [(node.lineno, name) for name in names if name in MODULES]
        if isinstance(node, ast.Call):
            found += [(node.lineno, what) for what in unsafe_call(node)]
    return found


def unsafe_call(call: ast.Call) -> list[str]:
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    found = []
    shell = keywords.get("shell")
    if shell is not None and not (isinstance(shell, ast.Constant) and shell.value is False):
        found.append("shell")
    function = call.func
    if isinstance(function, ast.Name) and function.id in BUILTINS | {"import_module"}:
        found.append(function.id)
    if not isinstance(function, ast.Attribute):
        return found
    owner = function.value.id if isinstance(function.value, ast.Name) else ""
    if function.attr in METHODS or (owner, function.attr) in {("os", "system")}:
        found.append(function.attr)
    if function.attr == "import_module":
        found.append("import_module")
    if owner in ("np", "numpy", "jnp") and function.attr in LOADERS:
        pickles = keywords.get("allow_pickle")
        if not (isinstance(pickles, ast.Constant) and pickles.value is False):
            found.append(f"{owner}.{function.attr}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_unsafe_primitive(path):
    place = str(path.relative_to(ROOT))
    found = [
        f"{place}:{line}: {what}"
        for line, what in unsafe(ast.parse(path.read_text()))
        if (place, what) not in ALLOWED
    ]
    assert not found


def test_what_is_allowed_is_there():
    for place, what in ALLOWED:
        assert what in [name for _, name in unsafe(ast.parse((ROOT / place).read_text()))]


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("import pickle", "pickle"),
        ("def f():\n    from marshal import loads", "marshal"),
        ("import yaml.loader", "yaml"),
        ("from joblib import load", "joblib"),
        ("eval('1')", "eval"),
        ("exec(text)", "exec"),
        ("f(compile(a, b, 'exec'))", "compile"),
        ("__import__(name)", "__import__"),
        ("importlib.import_module(name)", "import_module"),
        ("np.load(file)", "np.load"),
        ("np.load(file, allow_pickle=True)", "np.load"),
        ("np.load(file, allow_pickle=yes)", "np.load"),
        ("jnp.load(file)", "jnp.load"),
        ("archive.extractall()", "extractall"),
        ("shutil.unpack_archive(a)", "unpack_archive"),
        ("subprocess.run(a, shell=True)", "shell"),
        ("run(a, shell=yes)", "shell"),
        ("os.system(a)", "system"),
        ("os.popen(a)", "popen"),
        ("ast.literal_eval(a)", "literal_eval"),
    ],
)
def test_the_search_finds(code, what):
    assert what in [name for _, name in unsafe(ast.parse(code))]


@pytest.mark.parametrize(
    "code",
    ["np.load(f, allow_pickle=False)", "model.eval()", "lowered.compile()", "run(a, shell=False)"],
)
def test_the_search_lets_pass(code):
    assert unsafe(ast.parse(code)) == []


def no_network() -> list[str]:
    """A command that runs another one without any network, where this machine allows that."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("needs `unshare` of util-linux: not here")
    for options in (["-n"], ["-r", "-n"]):
        done = subprocess.run([unshare, *options, "true"], capture_output=True, timeout=20)
        if done.returncode == 0:
            return [unshare, *options]
    pytest.skip("this machine allows no network namespaces: `unshare -n` fails")


@pytest.mark.timeout(280)
def test_readers_and_training_need_no_network(tmp_path):
    command = no_network()
    connects = "import socket; socket.create_connection(('127.0.0.1', 9), 1)"
    alone = subprocess.run([*command, sys.executable, "-c", connects], capture_output=True)
    assert b"unreachable" in alone.stderr  # or the network was there after all
    tests = [
        "tests/data/test_idx.py",
        "tests/data/test_load.py",
        "tests/test_checkpoint.py::test_comes_back_bit_for_bit",
        "tests/test_verify.py::TestVerify::test_all_is_well",
        "tests/test_train.py::TestFit::test_learns_and_logs",
    ]
    done = subprocess.run(
        [*command, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        timeout=250,
    )
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-1_000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
