"""The layout: who may import whom, what is public, what importing does."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import jaxcnn
from jaxcnn import data, functional, losses, metrics, models, nn, optim, train
from jaxcnn.interop import flax as flax_bridge

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "jaxcnn"

# Each part may import those before it on its line's right side, and nothing else of jaxcnn.
MAY_IMPORT = {
    "errors": [],
    "version": [],
    "typing": [],
    "layer": ["errors", "typing"],
    "untrusted": ["errors"],
    "disk": [],
    "storage": ["errors", "disk"],
    "lock": ["errors", "disk", "untrusted"],
    "functional": ["errors", "typing"],
    "initializers": ["errors", "typing", "layer"],
    "parameters": ["typing"],
    "losses": ["errors", "typing", "functional", "parameters"],
    "metrics": ["errors", "typing", "functional"],
    "backprop": ["errors"],
    "nn": ["errors", "typing", "layer", "functional", "initializers"],
    "models": ["errors", "typing", "layer", "functional", "initializers", "nn"],
    "api": ["errors", "typing", "layer"],
    "features": ["typing", "layer", "api"],
    "ledger": ["typing", "layer", "functional", "api"],
    "optim": ["errors", "typing", "parameters"],
    "data": ["errors", "typing", "layer", "untrusted", "storage"],
    "compilation": ["data"],
    "settings": [],
    "digest": [],
    "determinism": ["errors", "functional"],
    "profile": ["errors"],
    "inspect": ["errors", "typing", "layer", "functional", "nn", "api", "features"],
    "checkpoint": ["errors", "untrusted", "storage"],
    "parallel": ["errors", "functional"],
    "train": [
        "errors",
        "typing",
        "layer",
        "functional",
        "nn",
        "api",
        "metrics",
        "optim",
        "data",
        "parallel",
    ],
    "replay": ["errors", "typing", "untrusted", "checkpoint", "train"],
    "report": ["errors"],
    "run": ["errors", "settings", "untrusted", "storage", "checkpoint"],
    "interop": ["errors", "typing", "layer", "untrusted", "storage", "checkpoint", "parallel"],
    "doctor": ["errors", "losses", "nn", "settings", "data", "compilation", "optim", "train"],
    "cli": ["errors", "untrusted", "run", "doctor"],
    "__main__": ["cli"],
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Parts of jaxcnn that a module imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            assert not name.startswith("experiments"), f"{path} imports experiments"
            if name.startswith("jaxcnn."):
                found.add(name.split(".")[1])
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    part = part_of(path)
    if part == "__init__":
        return
    assert part in MAY_IMPORT, f"{part} is new: say in MAY_IMPORT what it may import"
    allowed = {*MAY_IMPORT[part], part}
    assert imported(path) <= allowed, f"{path.name} may import only {sorted(allowed)}"


def test_the_allowed_imports_have_no_cycle():
    order = list(MAY_IMPORT)
    for part, allowed in MAY_IMPORT.items():
        assert all(order.index(other) < order.index(part) for other in allowed)


def test_only_one_module_imports_tensorflow_datasets():
    users = [p.name for p in modules() if "import tensorflow_datasets" in p.read_text()]
    assert users == ["tfds.py"]


CHANGES_A_DISK = {
    "write_bytes", "write_text", "mkdir", "unlink", "rename", "rmdir", "touch", "chmod", "fsync",
    "rmtree", "mkdtemp", "mkstemp", "makedirs", "truncate", "ftruncate",
}  # fmt: skip
OTHERS_FILES = {"tfds.py", "cache.py", "compilation.py"}  # caches: made anew where damaged
NO_CHANGE = {"files.py", "interrupt.py"}  # opens to read only; writes to a pipe


@pytest.mark.parametrize(
    "path",
    [p for p in (*modules(), *(ROOT / "experiments").rglob("*.py")) if p.name not in OTHERS_FILES],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_only_one_module_changes_the_disk(path):
    """So that a test can make any call fail: `disk`, mostly by way of `storage`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        assert not (isinstance(called, ast.Name) and called.id == "open"), f"{path}: open"
        if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
            of_disk = called.value.id in ("disk", "storage")
            assert of_disk or called.attr not in CHANGES_A_DISK, f"{path}: {called.attr}"
            name = f"{called.value.id}.{called.attr}"
            changes = name in ("os.open", "os.write", "os.replace", "os.remove")
            assert not changes or path.name in NO_CHANGE, f"{path}: {name}"


def test_only_the_bridge_to_flax_imports_flax():
    for path in modules():
        if path.parent != PACKAGE / "interop" / "flax":
            for node in ast.walk(ast.parse(path.read_text())):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                assert "flax" not in {name.partition(".")[0] for name in names}, path


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_are_short(path):
    assert len(path.read_text().splitlines()) <= 400
    assert path.name != "utils.py"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_every_module_and_public_definition_is_documented(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), f"{path} has no docstring"
    layer_methods = {"init", "apply"}  # documented once, in the protocol
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        assert ast.get_docstring(node), f"{path.name}: {node.name} has no docstring"
        for method in node.body if isinstance(node, ast.ClassDef) else ():
            if not isinstance(method, ast.FunctionDef) or method.name.startswith("_"):
                continue
            if method.name not in layer_methods and len(method.body) > 1:
                assert ast.get_docstring(method), f"{node.name}.{method.name} has no docstring"


@pytest.mark.parametrize(
    "module",
    [jaxcnn, data, functional, models, nn, optim, train, flax_bridge],
    ids=lambda m: m.__name__,
)
def test_public_names_exist_and_are_all_that_is_public(module):
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert hasattr(module, name)


def test_losses_and_metrics_are_documented_functions():
    assert losses.softmax_cross_entropy.__doc__
    assert metrics.classification.__doc__


def test_importing_does_no_work():
    """No array, no TensorFlow, no plotting, no data library, no file."""
    code = (
        "import sys, jaxcnn, jax\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge._backends, 'importing started a device'\n"
        "heavy = {'tensorflow', 'tensorflow_datasets', 'matplotlib', 'sklearn', 'PIL', 'flax',"
        " 'grain', 'requests', 'rich', 'tyro'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_warnings_are_errors():
    import warnings

    with pytest.raises(UserWarning, match="here"):
        warnings.warn("here", stacklevel=1)
