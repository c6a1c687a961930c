"""What is compiled by `make mamba`, and for which architecture; what stops it is one sentence."""

import subprocess
import sys
import tarfile

import pytest

torch = pytest.importorskip("torch")

from torch.utils import cpp_extension  # noqa: E402  (after the check for torch)

from dx7data.errors import InputError  # noqa: E402
from train import wheels  # noqa: E402

SETUP = """
cc_flag = []
for number in (80, 90, 120):
    cc_flag.append("-gencode")
    cc_flag.append(f"arch=compute_{number},code=sm_{number}")
if hip:
    arguments = {"nvcc": ["-O3"] + cc_flag}
else:
    arguments = {
        "nvcc": with_threads(
            [
                "-O3",
                "--expt-relaxed-constexpr",
            ]
            + cc_flag
        ),
    }
"""


def flags(setup: str, hip: bool = False) -> list[str]:
    names = {"hip": hip, "with_threads": lambda arguments: [*arguments, "--threads", "4"]}
    exec(setup, names)
    return names["arguments"]["nvcc"]


def test_one_architecture(monkeypatch):
    """torch adds the flags of TORCH_CUDA_ARCH_LIST to those of a setup.py that names no architecture."""
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "9.0")
    assert len([flag for flag in flags(SETUP) if "arch" in flag]) == 3
    assert cpp_extension._get_cuda_arch_flags(flags(SETUP)) == []
    left = flags(wheels.keep_one_architecture(SETUP))
    assert left == ["-O3", "--expt-relaxed-constexpr", "--threads", "4"]
    assert cpp_extension._get_cuda_arch_flags(left) == ["-gencode=arch=compute_90,code=sm_90"]
    assert flags(wheels.keep_one_architecture(SETUP), hip=True) == ["-O3"]


def test_another_setup_is_refused():
    with pytest.raises(InputError, match=r"pins of pyproject\.toml"):
        wheels.keep_one_architecture("setup()")


def test_architecture():
    assert wheels.choose_architecture("9.0") == "9.0"
    assert wheels.choose_architecture("12.1") == "12.1"
    for wrong in ("90", "sm_90", "9.0;8.0", "hopper"):
        with pytest.raises(InputError, match=rf"ARCH={wrong} must be a compute capability, such as 8\.0"):
            wheels.choose_architecture(wrong)


@pytest.mark.parametrize(
    ("release", "says"), [("13.2", None), ("12.4", "CUDA 12.4, torch of 13.0"), (None, "nvcc.*missing")]
)
def test_compiler(release, says, tmp_path, monkeypatch):
    monkeypatch.setattr(cpp_extension, "CUDA_HOME", str(tmp_path))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    if release:
        nvcc = tmp_path / "bin" / "nvcc"
        nvcc.parent.mkdir()
        nvcc.write_text(f"#!/bin/sh\necho 'Cuda compilation tools, release {release}, V{release}.1'\n")
        nvcc.chmod(0o755)
    if says is None:
        wheels.check_compiler()
    else:
        with pytest.raises(InputError, match=f"{says}.*install the CUDA toolkit 13.0 and name its folder"):
            wheels.check_compiler()


def test_jobs(monkeypatch):
    monkeypatch.delenv("MAX_JOBS", raising=False)
    most = len(wheels.os.sched_getaffinity(0))
    assert 1 <= 2 * int(wheels.count_jobs(2)) <= int(wheels.count_jobs(1)) + 1 <= most + 1
    monkeypatch.setattr(wheels, "GIB_PER_JOB", 1 << 20)
    assert wheels.count_jobs(2) == "1"
    monkeypatch.setenv("MAX_JOBS", "7")
    assert wheels.count_jobs(2) == "7"


def test_an_archive_at_hand_is_not_downloaded(tmp_path):
    for pin in wheels.read_pins():
        archive = tmp_path / f"{pin.replace('-', '_').replace('==', '-')}.tar.gz"
        archive.touch()
        assert wheels.fetch_source(pin, tmp_path, tmp_path / "scratch") == archive


def test_a_damaged_archive(tmp_path):
    archive = tmp_path / "mamba_ssm.tar.gz"
    with tarfile.open(archive, "w:gz") as members:
        members.add(__file__, "mamba_ssm/setup.py")
    assert [path.name for path in wheels.unpack(archive, tmp_path / "whole").iterdir()] == ["setup.py"]
    archive.write_bytes(archive.read_bytes()[:-400])
    with pytest.raises(InputError, match="can't be unpacked"):
        wheels.unpack(archive, tmp_path / "cut")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--arch", "9"], "ARCH=9 must be"),
        (["--arch", "9.0", "--archives", "no/such/folder"], "ARCHIVES=no/such/folder is no folder"),
        *([] if torch.cuda.is_available() else [([], "no CUDA GPU here to build for: name one, make mamba ARCH=9.0")]),
    ],
)
def test_one_sentence(arguments, says):
    command = [sys.executable, "-m", "train.wheels", *arguments]
    found = subprocess.run(command, cwd=wheels.ROOT, capture_output=True, text=True)
    assert found.returncode == 2
    assert says in found.stderr
    assert found.stderr.count("\n") == 1
    assert found.stdout == ""
