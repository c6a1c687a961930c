"""Imports go one way, in the order of data flow and between the packages; and rendering on a CPU does without torch."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

from dx7data import cli

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "dx7data"

# Each folder of dx7data may import from those above it, and all from the ground, which imports from none.
FOLDERS = ["storage", "patches", "engine", "audio", "phrases", "prefix", "plan", "dataset", "page", "cli"]
GROUND = {"arrow", "errors", "markup", "svg", "files", "search", "output", "process", "workers", "rng", "cache"}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name not in ("__init__.py", "__main__.py"))


def module(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


NAMES = set(map(module, MODULES))


def imports(path):
    """The modules of dx7data that a file imports, wherever it does so; a folder's own name where it imports from that."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "dx7data":
            inside = node.module.removeprefix("dx7data").lstrip(".")
            for alias in node.names:
                name = f"{inside}.{alias.name}".lstrip(".")
                yield name if name in NAMES | set(FOLDERS) else inside


def level(name):
    folder = name.partition(".")[0]
    return FOLDERS.index(folder) if folder in FOLDERS else -1


def test_every_module_has_its_place():
    assert {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()} == set(FOLDERS)
    assert {path.stem for path in PACKAGE.glob("*.py")} == GROUND | {"__init__", "__main__"}


@pytest.mark.parametrize("path", MODULES, ids=module)
def test_one_way(path):
    later = [name for name in imports(path) if level(name) > level(module(path))]
    assert not later, f"{module(path)} imports {later}"


def test_no_circles():
    sorter = TopologicalSorter({module(path): set(imports(path)) & NAMES for path in MODULES})
    assert set(sorter.static_order()) == NAMES  # raises CycleError


def test_the_map_in_the_docs():
    """A line for each folder, with the first line of its docstring."""
    lines = [f"  {name + '/':9} {import_module(f'dx7data.{name}').__doc__.splitlines()[0]}" for name in FOLDERS]
    assert "\n".join(lines) in (ROOT / "docs" / "architecture.md").read_text(), "\n".join(lines)


MODELS = ROOT / "models"
OF_MODELS = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in MODELS.rglob("*.py")
}


def model_imports(name):
    """The files of models/ that one imports, inside functions too; with import_module, as the folder of layers does, all in
    its folder."""
    path = OF_MODELS[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    text = path.read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            names = (f"{source}.{alias.name}" for alias in node.names)
            yield from (name if name in OF_MODELS else source for name in names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
    if "import_module(f" in text:
        yield from (other for other in OF_MODELS if other.startswith(f"{name}."))


def test_no_circles_in_models():
    graph = {name: set(model_imports(name)) & set(OF_MODELS) for name in OF_MODELS}
    assert "models.layers.convolution_kernel" in graph["models.layers.convolution"]  # inside a function
    assert "models.layers.s4" in graph["models.layers"]
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    stages = ["layers.base", "layers", "settings", "registry", "model", "memory"]
    assert [name for name in order if name.removeprefix("models.") in stages] == [f"models.{name}" for name in stages]


# What training takes from dx7data: what a sample is, and how a program of this project speaks and writes.
FOR_TRAINING = {
    "errors",
    "output",
    "storage",
    "process",
    "workers",
    "markup",
    "svg",
    "files",
    "rng",
    "patches",
    "engine",
    "audio",
    "prefix",
    "plan",
    "cli.types",
    "page.head",
}
TRAINING = sorted((ROOT / "train").rglob("*.py"))
# Each folder of train may import from those above it; the commands, files of train itself, from all.
STAGES = ["results", "data", "evaluation", "loop", "releases", "doctor"]


@pytest.mark.parametrize("path", TRAINING, ids=lambda path: str(path.relative_to(ROOT)))
def test_training_imports_little(path):
    assert {name if name.startswith(("cli", "page")) else name.split(".")[0] for name in imports(path)} <= FOR_TRAINING


def imports_of_training(path):
    """The modules of train that a file imports, by their files."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "train":
            for alias in node.names:
                inside = ROOT.joinpath(*node.module.split("."))
                yield next(file for file in (inside / f"{alias.name}.py", inside.with_suffix(".py")) if file.exists())


def test_training_goes_one_way():
    known = {ROOT / "train" / f"{name}.py" for name in ("config", "documents", "options", "wheels")}  # which all may import
    for path in TRAINING:
        folder = path.relative_to(ROOT / "train").parts[0]
        for other in set(imports_of_training(path)) - known:
            if folder in STAGES:
                there = other.relative_to(ROOT / "train").parts[0]
                assert there in STAGES[: STAGES.index(folder) + 1], f"{path} imports {other}"
    graph = {path: set(imports_of_training(path)) for path in TRAINING}
    assert len(list(TopologicalSorter(graph).static_order())) == len(TRAINING)  # raises CycleError


@pytest.mark.parametrize("path", sorted((ROOT / "models").rglob("*.py")), ids=lambda path: path.stem)
def test_models_know_nothing_of_the_data(path):
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.split(".")[0])
    assert not found & {"dx7data", "train"}


def test_render_does_not_import_torch_or_ray(tmp_path):
    """Both are installed here, and so is webdataset, whose import would bring torch."""
    script = (
        "import sys; from importlib.util import find_spec; assert find_spec('torch') and find_spec('ray');"
        "from dx7data.cli import main;"
        f"status = main(['render', '--patches', 'example', '--out', {str(tmp_path)!r}, '--samples', '9']);"
        "assert status == 0; print(sys.modules.keys() & {'torch', 'webdataset', 'ray'})"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert found.stdout.splitlines()[-1:] == ["set()"], found.stderr


def test_a_plan_is_loaded_without_pandas(tmp_path):
    """pyarrow imports it for much that does without."""
    pytest.importorskip("pandas")
    assert cli.main(["plan", "--patches", "example", "--samples", "8", "--seconds", "0.5", "--out", str(tmp_path)]) == 0
    script = "import sys; from dx7data.plan.plan import Plan; Plan.load(sys.argv[1]); print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
