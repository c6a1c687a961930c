"""Imports go one way, in the order of data flow and between the packages; and rendering on a CPU does without torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "dx7data"

# Each module may import those above it.
ORDER = [
    *("errors", "report", "files", "mulaw"),
    *("engine.tables", "engine.envelope", "engine.lfo", "engine.pitch", "engine.algorithms", "engine.operators"),
    *("engine.cache", "engine.control", "engine.cpu"),
    *("engine.cuda_kernels", "engine.cuda", "engine.device", "engine.render"),
    *("patch", "sysex", "audible", "bank", "rng", "permutation", "derive"),
    *("phrase", "filters", "compose", "midi", "music"),
    *("voice", "decimate", "gain", "clips_cuda", "clips"),
    *("audition", "prefix", "spec", "drawn", "patches", "family", "split", "widen"),
    *("sample", "variation", "hidden", "plan", "planning"),
    *("shard", "worker", "distribute", "card", "dataset", "verify"),
    *("spectrum", "drawing", "histograms", "page", "bench", "commands", "render_command", "arguments", "cli", "__main__"),
]


def imports(path):
    """The modules of this package that a file imports, wherever it does so."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "dx7data":
            inside = node.module.removeprefix("dx7data").lstrip(".")
            for alias in node.names:
                name = f"{inside}.{alias.name}".lstrip(".")
                yield name if name in ORDER else inside


def module(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def test_every_module_has_its_place():
    assert {module(path) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"} == set(ORDER)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=module)
def test_one_way(path):
    if path.name != "__init__.py":
        later = [name for name in imports(path) if ORDER.index(name) >= ORDER.index(module(path))]
        assert not later, f"{module(path)} imports {later}"


# What training takes from dx7data: what a sample is, and how a program of this project speaks and writes.
FOR_TRAINING = {"plan", "sample", "rng", "prefix", "sysex", "patch", "bank", "decimate", "errors", "arguments", "files"}
FOR_TRAINING |= {"engine", "clips_cuda"}  # what the GPU that trains renders with


@pytest.mark.parametrize("path", sorted((ROOT / "train").glob("*.py")), ids=lambda path: path.stem)
def test_training_imports_little(path):
    assert {name.split(".")[0] for name in imports(path)} <= FOR_TRAINING


@pytest.mark.parametrize("path", sorted((ROOT / "models").glob("*.py")), ids=lambda path: path.stem)
def test_models_know_nothing_of_the_data(path):
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.split(".")[0])
    assert not found & {"dx7data", "train"}


def test_render_does_not_import_torch(tmp_path):
    """torch is installed here, and so is webdataset, whose import would bring it."""
    script = (
        "import importlib.util, sys; assert importlib.util.find_spec('torch'); from dx7data.cli import main;"
        f"status = main(['render', '--patches', 'example', '--out', {str(tmp_path)!r}, '--samples', '9']);"
        "assert status == 0; print('torch' in sys.modules, 'webdataset' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert found.stdout.splitlines()[-1:] == ["False False"], found.stderr
