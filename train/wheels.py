"""What `make mamba` runs: mamba-ssm and causal-conv1d compiled for one GPU architecture and installed.

Left alone, both compile for up to ten architectures, look on the network for a wheel first, and mamba-ssm requires seventy
packages, mostly for layers that we do not have. Finished wheels are kept, so the next set-up takes seconds.
"""

import argparse
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dx7data import process
from dx7data.errors import InputError, suggest_install
from dx7data.output import format_count

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "wheels"
BUILD_NEEDS = ["ninja", "packaging", "wheel", "setuptools<82"]
IMPORT_NEEDS = ["einops", "huggingface_hub", "transformers"]  # mamba-ssm imports these with any of its layers
FORCE = {"MAMBA_FORCE_BUILD": "TRUE", "CAUSAL_CONV1D_FORCE_BUILD": "TRUE"}  # don't ask the network for a finished wheel
SKIP = {"MAMBA_SKIP_CUDA_BUILD": "TRUE", "CAUSAL_CONV1D_SKIP_CUDA_BUILD": "TRUE"}  # no compiler, to read a version
GIB_PER_JOB = 4  # of memory, for one file of templates under nvcc
EXAMPLES = "8.0 (A100), 8.9 (RTX 40), 9.0 (H100) or 12.0 (RTX 50)"


def read_pins() -> list[str]:
    """["mamba-ssm==...", "causal-conv1d==..."], as pyproject.toml has them."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["mamba"]


def choose_architecture(asked: str | None) -> str:
    """Compute capability, such as "9.0": the one asked for, else that of the GPU at hand."""
    if asked:
        if not re.fullmatch(r"\d{1,2}\.\d", asked):
            raise InputError(f"ARCH={asked} must be a compute capability, such as {EXAMPLES}")
        return asked
    import torch

    if not torch.cuda.is_available():
        raise InputError(f"there is no CUDA GPU here to build for: name one, make mamba ARCH=9.0, or another of {EXAMPLES}")
    return "{}.{}".format(*torch.cuda.get_device_capability())


def check_compiler() -> None:
    import torch
    from torch.utils.cpp_extension import CUDA_HOME

    wanted = torch.version.cuda
    if wanted is None:
        raise InputError(f"torch {torch.__version__} is built without CUDA: install PyPI's, {suggest_install('train')}")
    mend = f"install the CUDA toolkit {wanted} and name its folder, make mamba CUDA_HOME=/usr/local/cuda-{wanted}"
    found = read_cuda_version(f"{CUDA_HOME}/bin/nvcc")
    if found is None:
        raise InputError(f"nvcc, CUDA's compiler, is missing: {mend}, or use a container image with it (...-devel)")
    if found.split(".")[0] != wanted.split(".")[0]:
        raise InputError(
            f"nvcc of {CUDA_HOME} is of CUDA {found}, torch of {wanted}, and the first numbers must agree: {mend}"
        )


def read_cuda_version(nvcc: str) -> str | None:
    """Such as "13.0", or None where this is not nvcc."""
    try:
        said = subprocess.run([nvcc, "--version"], capture_output=True, text=True).stdout
    except OSError:
        return None
    found = re.search(r"release (\d+\.\d+)", said)
    return found and found[1]


def count_jobs(builds: int) -> str:
    """Files that each of some builds compiles at a time: together one a core, as far as memory goes; MAX_JOBS overrides."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    return os.environ.get("MAX_JOBS") or str(max(1, min(len(os.sched_getaffinity(0)), memory // GIB_PER_JOB) // builds))


def keep_one_architecture(setup: str) -> str:
    """The text of a setup.py without its list of architectures: torch then compiles for TORCH_CUDA_ARCH_LIST."""
    if "+ cc_flag" not in setup:
        raise InputError(
            "the setup.py of this release lists its architectures in another way: use the pins of pyproject.toml"
        )
    return setup.replace("+ cc_flag", "")


def run_pip(*arguments: str, **environment: str) -> bool:
    """Whether pip did it. PATH, because torch looks there for ninja, without which it compiles one file at a time."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *arguments]
    return subprocess.run(command, env=os.environ | environment | {"PATH": path}).returncode == 0


def install_needs(archives: Path) -> None:
    """From what is installed or lies in `archives`; only if that does not do, from the network."""
    needs = BUILD_NEEDS + IMPORT_NEEDS
    if not run_pip("install", "-qqq", "--no-index", f"--find-links={archives}", *needs) and not run_pip("install", *needs):
        raise InputError(
            f"mamba-ssm needs {', '.join(needs)}, which can't be had: where there is a network, run "
            f"`pip download -d archives {' '.join(map(repr, needs))}`, and copy the folder here"
        )


def fetch_source(pin: str, archives: Path, scratch: Path) -> Path:
    name, version = pin.split("==")
    archive = f"{name.replace('-', '_')}-{version}.tar.gz"
    if (archives / archive).is_file():
        return archives / archive
    options = "--no-deps", "--no-build-isolation", "--no-binary=:all:", f"--dest={scratch}"
    if not run_pip("download", *options, pin, **FORCE, **SKIP):
        raise InputError(f"{pin} can't be downloaded: put {archive} into {archives}/, or name its folder, ARCHIVES=...")
    return scratch / archive


def unpack(archive: Path, folder: Path) -> Path:
    try:
        with tarfile.open(archive) as members:
            members.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InputError(f"{archive} can't be unpacked ({error}): copy it again") from None
    (source,) = folder.iterdir()
    return source


def build(pin: str, archives: Path, arch: str, folder: Path, max_jobs: str) -> None:
    """max_jobs: files compiled at a time."""
    start = time.monotonic()
    print(f"Building {pin} for compute capability {arch}: minutes, with {format_count(int(max_jobs), 'job')}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        source = unpack(fetch_source(pin, archives, Path(scratch)), Path(scratch, "source"))
        setup = source / "setup.py"
        setup.write_text(keep_one_architecture(setup.read_text()))
        how = {"TORCH_CUDA_ARCH_LIST": arch, "MAX_JOBS": max_jobs, "PYTHONWARNINGS": "ignore"}
        options = "--no-deps", "--no-build-isolation", "--no-cache-dir", f"--wheel-dir={folder}"
        if not run_pip("wheel", *options, str(source), **FORCE, **how):
            raise InputError(f"{pin} did not build: the compiler's message is above")
    print(f"Built {pin} in {time.monotonic() - start:.0f} s, kept in {folder}")


def install(archives: Path, asked: str | None) -> None:
    arch = choose_architecture(asked)
    import torch  # seconds: not before a mistyped option was found

    kept = KEPT / f"cp{sys.version_info[0]}{sys.version_info[1]}-torch{torch.__version__}-sm{arch}"

    def wheel(pin: str) -> list[Path]:
        name, version = pin.split("==")
        return list(kept.glob(f"{name.replace('-', '_')}-{version}-*.whl"))

    missing = [pin for pin in read_pins() if not wheel(pin)]
    if missing:
        check_compiler()
    install_needs(archives)
    with ThreadPoolExecutor() as pool:  # side by side: each ends with one large file that only one core can compile
        list(pool.map(lambda pin: build(pin, archives, arch, kept, count_jobs(len(missing))), missing))
    # By force: the version is the same when the wheel installed now was built for another torch.
    wheels = [str(path) for pin in read_pins() for path in wheel(pin)]
    if not run_pip("install", "--no-deps", "--no-index", "--force-reinstall", *wheels):
        raise InputError(f"{kept} can't be installed: pip's message is above")
    print("Installed; `.venv/bin/python -m train.doctor` runs them")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train.wheels", description=__doc__.split("\n")[0])
    parser.add_argument("--arch", help="compute capability to build for, such as 9.0 (default: the GPU's)")
    parser.add_argument("--archives", type=Path, help="folder of source archives (default: archives/, if it is there)")
    options = parser.parse_args(arguments)

    def check_and_install() -> None:
        if options.archives and not options.archives.is_dir():
            raise InputError(f"ARCHIVES={options.archives} is no folder: name the one with the source archives")
        install(options.archives or ROOT / "archives", options.arch)

    return process.run("train.wheels", check_and_install)


if __name__ == "__main__":
    process.run_main("train.wheels", main)
