"""The package as others get it: built from the checkout's files, installed and used outside the checkout.

uv builds the sdist and the wheel from that, and installs the lowest versions that pyproject.toml allows. Where it reaches no
package index, these tests are skipped.
"""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest

import dx7data
from dx7data import cli

ROOT = Path(__file__).resolve().parents[1]
UV = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
UNREACHABLE = ("Failed to fetch", "error sending request")
OF_THE_CHECKOUT = {
    ".ci/run",
    ".dockerignore",
    ".github/workflows/ci.yml",
    ".gitignore",
    ".pre-commit-config.yaml",
    "Dockerfile",
}
RENDER = [
    "render",
    "--patches",
    "example",
    "--samples",
    "40",
    "--seconds",
    "0.3",
    "--sample-rate",
    "8000",
    "--prefix",
    "fsk",
]

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(UV is None, reason="uv is not installed: pip install uv"),
]


def run(*command, cwd, **environment):
    """What a command says; the test fails if the command does. It sees nothing of this process's PYTHONPATH."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment
    done = subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=900)
    if command[0] == UV and done.returncode and any(sign in done.stderr for sign in UNREACHABLE):
        pytest.skip(f"uv reaches no package index: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def files():
    """What git knows of and would take in, with the changes of the working tree."""
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout of git")
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\0")
    return {name for name in listed if (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def built(files, tmp_path_factory):
    """A folder with the sdist, unpacked as `sdist`, and the wheel that was made from it."""
    folder = tmp_path_factory.mktemp("built")
    for name in files:  # a copy, for what earlier builds left in the checkout would get into this one
        (folder / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / "copy" / name)
    run(UV, "build", "--out-dir", folder, folder / "copy", cwd=folder)
    (sdist,) = folder.glob("*.tar.gz")
    shutil.unpack_archive(sdist, folder, filter="data")
    (folder / sdist.name.removesuffix(".tar.gz")).rename(folder / "sdist")
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What the checkout renders."""
    folder = tmp_path_factory.mktemp("expected") / "shards"
    assert cli.main([*RENDER, "--out", str(folder)]) == 0
    return folder


def test_the_wheel_holds_the_whole_package(files, wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == {name for name in files if name.startswith("dx7data/")}
    assert {"dx7data/py.typed", "dx7data/page/page.html", "dx7data/patches/example_bank.syx"} <= held


def test_the_sdist_holds_the_whole_project(files, built):
    """Its tests read pages, recorded data and the programs that are not installed. Trained models stay in the repository."""
    held = {str(path.relative_to(built / "sdist")) for path in (built / "sdist").rglob("*") if path.is_file()}
    models = {name for name in files if name.startswith("releases/") and name.count("/") > 1}
    assert {name for name in held if "egg-info" not in name} - {"PKG-INFO", "setup.cfg"} == files - OF_THE_CHECKOUT - models


def test_data_tests_of_the_sdist(built):
    """From its own files: pytest puts the folder that it runs in before all others."""
    names = ["patches/test_bank", "patches/test_exports", "engine/test_engine", "dataset/test_format_2", "test_imports"]
    tests = [f"tests/{name}.py" for name in names]
    said = run(sys.executable, "-m", "pytest", *tests, "-m", "not slow", cwd=built / "sdist", OMP_NUM_THREADS="1")
    assert " passed" in said
    where = run(sys.executable, "-c", "import dx7data; print(dx7data.__file__)", cwd=built / "sdist")
    assert Path(where.strip()).is_relative_to(built / "sdist")


def make_environment(folder, *options):
    """The python of a new virtual environment into which `uv pip install` with these options put packages."""
    run(UV, "venv", "--no-python-downloads", "--python", sys.executable, folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    run(UV, "pip", "install", "--python", python, "--only-binary", ":all:", *options, cwd=folder.parent)
    return python


def share_packages(python):
    """Let it import what is installed here, after its own packages; dx7data itself is not among it."""
    (packages,) = python.parents[1].glob("lib/python*/site-packages")
    (packages / "shared.pth").write_text(f"{Path(np.__file__).parents[1]}\n")


def use(python, folder, expected):
    """Render, verify and inspect as a person would, outside the checkout; the samples are the checkout's, byte for byte."""
    program, shards, cache = python.with_name("dx7data"), folder / "shards", {"NUMBA_CACHE_DIR": str(folder / "numba")}
    assert run(program, "--version", cwd=folder).strip() == f"dx7data {dx7data.__version__}"
    run(program, *RENDER, "--out", shards, cwd=folder, **cache)
    run(program, "verify", shards, cwd=folder, **cache)
    assert "prefix.fsk: " in run(program, "inspect", shards, cwd=folder, **cache)
    run(program, "inspect", shards, "--html", folder / "page.html", cwd=folder, **cache)
    assert (folder / "page.html").read_text().count("<audio") > 10
    tars = sorted(path.name for path in expected.glob("*.tar"))
    assert tars
    assert all((shards / name).read_bytes() == (expected / name).read_bytes() for name in tars)
    where = "import dx7data, dx7data.errors as e; print(dx7data.__file__); print(e.suggest_install('s3'))"
    file, command = run(python, "-c", where, cwd=folder).splitlines()
    assert Path(file).is_relative_to(python.parents[1])
    assert command == "pip install 'dx7data[s3]'"


def test_the_wheel_without_the_checkout(wheel, expected, tmp_path):
    """With the dependencies of this environment, so that only the wheel is installed."""
    python = make_environment(tmp_path / "venv", "--no-deps", wheel)
    share_packages(python)
    use(python, tmp_path, expected)


def test_the_lowest_versions(wheel, expected, tmp_path):
    """An empty environment: the wheel itself names all that it needs, in versions that suffice."""
    use(make_environment(tmp_path / "venv", "--resolution", "lowest-direct", wheel), tmp_path, expected)


def test_training_with_the_lowest_versions(built, wheel, expected, tmp_path):
    """torch, which is gigabytes and pinned, is the one of this environment."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    light = [each for each in project["optional-dependencies"]["train"] if not each.startswith("torch")]
    python = make_environment(tmp_path / "venv", "--resolution", "lowest-direct", wheel, *light)
    share_packages(python)

    def call(module, *words):
        run(python, "-m", module, *words, cwd=built / "sdist", OMP_NUM_THREADS="1", NUMBA_CACHE_DIR=str(tmp_path / "numba"))

    options = [
        "--model",
        "s4d",
        "--preset",
        "tiny",
        "--device",
        "cpu",
        "--seconds",
        "0.1",
        "--steps",
        "4",
        "--prefix",
        "fsk",
    ]
    options += ["--batch", "4", "--evaluate-samples", "2", "--evaluate-every", "4", "--checkpoint-every", "4"]
    call("train", "--shards", expected, "--out", tmp_path / "run", *options)
    call("train", "--shards", expected / "train-000000.tar", "--out", tmp_path / "web", "--reader", "webdataset", *options)
    recording = tmp_path / "recording.flac"  # of another rate, which soxr changes
    write = "import numpy, soundfile, sys; soundfile.write(sys.argv[1], numpy.sin(numpy.arange(2000) / 9), 11025)"
    run(python, "-c", write, recording, cwd=tmp_path)
    converted = ["--source", recording, "--patch", "example:5", "--out", tmp_path / "converted.wav"]
    call("train.convert", "--checkpoint", tmp_path / "run", *converted)
    call("train.timescales", "--checkpoint", tmp_path / "run", "--out", tmp_path / "timescales.png")
    made = ["run/pictures/loss.png", "run/result.json", "web/result.json", "converted.wav", "timescales.png"]
    assert all((tmp_path / name).stat().st_size > 0 for name in made)
    assert list((tmp_path / "run" / "tensorboard").iterdir())
