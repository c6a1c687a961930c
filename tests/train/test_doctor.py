"""The doctor: its report on invented machines, probes that really die, and itself on this machine."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import documented
import pytest

from dx7data import output

torch = pytest.importorskip("torch")

from train.doctor import environment, probe, report  # noqa: E402  (after the check for torch)
from train.doctor.environment import PROBED, Facts, Outcome  # noqa: E402
from train.doctor.issues import GB, ISSUES  # noqa: E402

LAYER = {
    "off": {"output": 4e-4, "A_log": 1e-3, "dt_bias": 2e-3, "conv1d.weight": 9e-4},
    "not finite in bf16": [],
    "first seconds": 40.0,
    "second seconds": 0.004,
}
GPU = {"cuda": "13.0", "nvcc": "13.0", "reason": "", "gpu": "H100", "capability": "9.0", "free": 79 * GB, "total": 80 * GB}
NO_GPU = {"cuda": "13.0", "nvcc": None, "reason": "Found no NVIDIA driver on your system.", "gpu": None}
GUARDS = {"one contract": True, "weights refused": True, "long refused": True, "d_state": 64, "growth": 2.0}
IMPORTS = {"convolution lost": False, "cache": "/home/me/.triton", "cache writable": True}
VERSIONS = {"torch": "2.11.0", "torchaudio": "2.11.0", "triton": "3.6.0", "mamba-ssm": "2.3.2.post1"}
VERSIONS |= {"causal-conv1d": "1.5.3.post1", "numpy": "2.4.6", "numba": "0.68.1", "numba-cuda": "0.30.4"}
ABORT = Outcome(error="killed by SIGABRT: a C++ library gave up (getElemsPerThread)", death="SIGABRT")


def probes(**layers: Outcome | dict) -> dict[str, Outcome]:
    """Outcomes of the layers, of which some are other ones: a whole Outcome, or other figures."""
    changed = {name: o if isinstance(o, Outcome) else Outcome(LAYER | o) for name, o in layers.items()}
    return {name: changed.get(name.replace("-", "_"), Outcome(LAYER)) for name in PROBED}


H100 = Facts(
    versions=VERSIONS,
    driver="NVIDIA H100 80GB HBM3, 580.65.06",
    machine=Outcome(GPU),
    guards=Outcome(GUARDS | {"bytes": {"mamba1": 2 * GB, "mamba2": 3 * GB}}),
    imports=Outcome(IMPORTS),
    layers=probes(),
)
WITHOUT_GPU = replace(H100, driver=None, machine=Outcome(NO_GPU), imports=Outcome(), layers={})


def versions(**changes: str | None) -> Facts:
    return replace(H100, versions=VERSIONS | {name.replace("_", "-"): version for name, version in changes.items()})


def figures(part: str, changes: dict) -> Facts:
    return replace(H100, **{part: Outcome(getattr(H100, part).figures | changes)})


def import_error(text: str) -> Facts:
    return replace(H100, imports=Outcome(error=text), layers={})


def without_mamba(**machine) -> Facts:
    return replace(
        versions(mamba_ssm=None, causal_conv1d=None), machine=Outcome(GPU | machine), imports=Outcome(), layers={}
    )


def lines(found: Facts) -> list[str]:
    return [str(line) for group in report.report(found).values() for line in group]


# issue, machine, how its line has to begin and what it has to say
SITUATIONS = [
    (389, figures("imports", {"cache writable": False}), "wrong.*/home/me/.triton.* TRITON_CACHE_DIR="),
    (439, figures("machine", {"free": GB}), "warning.* 3.0 GB with mamba2, 2.0 with mamba1, 1.0 are free.*nvidia-smi"),
    (453, figures("guards", {"weights refused": False}), "wrong.*git diff"),
    (475, figures("guards", {"one contract": False}), "wrong.*git diff"),
    (479, figures("guards", {"d_state": 128}), "warning.*has 128"),
    (495, figures("guards", {"growth": 3.9}), "wrong.* 3.9 times the memory"),
    (503, figures("guards", {"long refused": False}), "wrong.*git diff"),
    (510, replace(H100, layers=probes(mamba2_seed={"second seconds": 0.1})), "warning.*100.0 ms, Mamba1 4.0 ms.*--batch"),
    (352, versions(mamba_ssm="2.2.2"), "wrong.*2.2.2.*mend: make mamba"),
    (352, replace(H100, layers=probes(mamba2={"not finite in bf16": ["dt_bias"]})), "wrong.*mamba2: dt_bias.*fp32"),
    (373, versions(triton="3.1.0"), r"wrong.*triton 3.1.0.*pip install -e '.\[train\]'"),
    (
        373,
        replace(H100, layers=probes(mamba2=Outcome(error="RuntimeError: PassManager"))),
        "wrong.*from mamba2: see above",
    ),
    (375, replace(H100, layers=probes(mamba2_seed=ABORT)), r"wrong.*mamba2-seed \(SIGABRT\).*make mamba"),
    (55, versions(causal_conv1d=None), "warning.*not installed.*mend: make mamba"),
    (55, without_mamba(nvcc=None), "warning.*nvcc.*missing.*CUDA toolkit 13.0, then make mamba"),
    (55, without_mamba(nvcc="12.4"), "warning.*is 12.4.*CUDA toolkit 13.0"),
    (55, import_error("ImportError: causal_conv1d_cuda.so: wrong ELF class"), "wrong.*rm -rf wheels && make mamba"),
    (169, import_error("ImportError: undefined symbol: _ZN3c104cuda"), "wrong.*than 2.11.0.*rm -rf wheels && make mamba"),
    (467, figures("imports", {"convolution lost": True}), "wrong.*rm -rf wheels && make mamba"),
    (481, without_mamba(), "warning.*mamba-ssm is not installed.*mend: make mamba"),
]


def test_each_issue_is_safe_where_all_is_well(capsys):
    assert all(line.startswith("ok ") for line in lines(H100))
    assert [re.match(r"ok +#(\d+) .*: safe, ", line)[1] for line in lines(H100)[-15:]] == [str(issue[0]) for issue in ISSUES]
    output.configure({})
    assert report.show(report.report(H100)) == 0
    shown = capsys.readouterr().out
    assert "0 wrong, 0 warnings" in shown
    output.configure({"json": True})
    assert report.show(report.report(H100)) == 0
    found = json.loads(capsys.readouterr().out)
    documented.check("python -m train.doctor", found)
    assert [str(report.Line(**line)) for lines in found["checks"].values() for line in lines] == lines(H100)
    assert f"{found['ok']} ok" in shown


def test_each_issue_can_be_other_than_safe():
    assert {situation[0] for situation in SITUATIONS} == {issue[0] for issue in ISSUES}


@pytest.mark.parametrize(("issue", "machine", "says"), SITUATIONS)
def test_what_is_wrong_and_what_mends_it(issue, machine, says):
    (line,) = [line for line in lines(machine) if f" #{issue} " in line]
    assert re.match(says, line), line
    assert report.show(report.report(machine)) == int(any(line.startswith("wrong") for line in lines(machine)))


OTHER_LINES = [
    (versions(mamba_ssm="2.2.2"), "wrong    mamba-ssm 2.2.2: its gradients .*make mamba"),
    (versions(causal_conv1d="1.2.0"), "wrong    causal-conv1d 1.2.0"),
    (versions(torchaudio="2.10.0"), "wrong    torch 2.11.0 and torchaudio 2.10.0 are not a pair"),
    (versions(numpy="2.5.0"), r"wrong    numba-cuda calls what numpy 2.5.0 no longer has.*pip install -e '.\[cuda\]'"),
    (versions(torch=None), "wrong    torch is not installed"),
    (replace(H100, machine=Outcome(error="OSError: libcudart.so.13")), "wrong    torch does not work: OSError: libcudart"),
    (replace(H100, machine=Outcome(NO_GPU)), "wrong    torch can't use the GPU .NVIDIA H100.*driver for CUDA 13.0"),
    (replace(H100, machine=Outcome(NO_GPU | {"cuda": None})), "wrong    torch can't use.*pip install"),
    (replace(H100, guards=Outcome(error="ImportError: no_such_name")), "wrong    they do not run: ImportError"),
    (
        replace(H100, layers=probes(mamba1=ABORT)),
        "wrong    mamba1: killed by SIGABRT.*make mamba; if that does not, .*uninstall",
    ),
    (replace(H100, layers=probes(mamba1=Outcome(error="no answer within 600 s"))), "wrong    mamba1: no answer.*again"),
    (replace(H100, layers=probes(mamba1=Outcome(error="OutOfMemoryError: CUDA out of memory."))), "wrong .*nvidia-smi"),
    (import_error("ModuleNotFoundError: No module named 'einops'"), "wrong .*No module named 'einops' . mend: make mamba"),
    (
        replace(H100, layers=probes(mamba2={"off": {"output": 2e-3, "D": 0.0}})),
        "wrong    mamba2: off plain torch by 2.0e-03",
    ),
    (
        replace(H100, layers=probes(mamba3={"off": {"output": 2e-3, "D": 0.04}})),
        "ok       mamba3: off plain torch by 2.0e-03",
    ),
    (replace(H100, layers=probes(mamba2={"off": {"output": 0.0, "A_log": 0.03, "D": 0.0}})), "wrong .* 3.0e-02 .*A_log"),
    (replace(H100, layers=probes(mamba2={"off": {"output": float("inf"), "D": 0.0}})), "wrong    mamba2: off"),
]


@pytest.mark.parametrize(("machine", "says"), OTHER_LINES)
def test_other_lines(machine, says):
    assert [line for line in lines(machine) if re.match(says, line)], lines(machine)


@pytest.mark.parametrize("changes", [{}, {"mamba-ssm": "2.2.2", "triton": "3.1.0"}, {"mamba-ssm": None, "triton": None}])
def test_without_a_gpu_there_are_warnings_only(changes):
    found = replace(WITHOUT_GPU, versions=VERSIONS | changes)
    assert {line.split()[0] for line in lines(found)} == {"ok", "warning"}
    assert report.show(report.report(found)) == 0


DEATHS = [
    ("import os; os.abort()", "killed by SIGABRT: a C++ library gave up", "SIGABRT"),
    ("import os; os.kill(os.getpid(), 11)", "killed by SIGSEGV: it used memory that is not its own", "SIGSEGV"),
    ("import time; time.sleep(60)", "no answer within 2 s, so it was stopped", ""),
    ("1 / 0", "ZeroDivisionError: division by zero", ""),
    ("import sys; sys.exit(3)", "exit status 3", ""),
    ("""print('{"error": "ImportError: broken"}')""", "ImportError: broken", ""),
]


@pytest.mark.parametrize(("code", "error", "death"), DEATHS)
def test_a_child_that_dies(code, error, death):
    outcome = environment.run([sys.executable, "-c", code], seconds=2)
    assert outcome.figures == {}
    assert outcome.error.startswith(error)
    assert outcome.death == death


def test_a_child_that_lives():
    outcome = environment.run([sys.executable, "-c", """print("noise"); print('{"cuda": "13.0"}')"""], seconds=10)
    assert outcome == Outcome({"cuda": "13.0"})


def packages(folder, **sources: str) -> None:
    for name, source in sources.items():
        path = folder.joinpath(*name.split("__"))
        path.mkdir(parents=True, exist_ok=True)
        (path / "__init__.py").write_text(source)


MAMBA = {"selective_scan_cuda": "", "mamba_ssm": "", "mamba_ssm__ops": "", "mamba_ssm__ops__triton": ""}
COMBINED = "mamba_ssm__ops__triton__ssd_combined"
# what lies on the path, issue, what the doctor says of it
INSTALLATIONS = [
    ({"causal_conv1d_cuda": "raise ImportError('x.so: undefined symbol: _ZN3c10')"}, 169, "wrong.*built for another torch"),
    ({COMBINED: "causal_conv1d_fwd_function = None", "causal_conv1d_cuda": ""}, 467, "wrong.*can't use it"),
    ({"causal_conv1d_cuda": "import os; os.abort()"}, 375, r"wrong.*in the import \(SIGABRT\)"),
    ({COMBINED: "causal_conv1d_fwd_function = print", "causal_conv1d_cuda": ""}, 467, "ok.*safe"),
]


@pytest.mark.parametrize(("sources", "issue", "says"), INSTALLATIONS)
def test_installations_that_really_fail(sources, issue, says, tmp_path, monkeypatch):
    packages(tmp_path, **MAMBA, causal_conv1d="", **sources)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    outcome = environment.run([sys.executable, "-m", "train.doctor.probe", "imports"])
    (line,) = [line for line in lines(replace(H100, imports=outcome)) if f" #{issue} " in line]
    assert re.match(says, line), line


def test_no_comparison_passes_a_nan():
    one, nan = torch.ones(3), torch.tensor([1.0, torch.nan, 1.0])
    assert probe.peak_error(one, 2 * one) == 0.5
    assert probe.peak_error(nan, one) == probe.peak_error(one, nan) == torch.inf


def test_on_this_machine():
    found = subprocess.run([sys.executable, "-m", "train.doctor"], cwd=environment.ROOT, capture_output=True, text=True)
    statuses = {line.split()[0] for line in found.stdout.splitlines() if line.startswith("  ")}
    assert statuses <= {"ok", "warning", "wrong"}
    assert found.returncode == int("wrong" in statuses), found.stderr
    if not torch.cuda.is_available():
        assert statuses == {"ok", "warning"}, found.stdout
        assert found.stdout.count("safe, ") == 15
        assert found.stderr == ""


def test_the_doctor_itself_is_in_no_danger():
    script = "import sys, train.doctor.report; print({'torch', 'triton', 'mamba_ssm', 'causal_conv1d'} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", script], cwd=environment.ROOT, capture_output=True, text=True)
    assert found.stdout == "set()\n", found.stderr


def test_wrong_usage(capsys):
    assert report.main(["--jsn"]) == 2
    assert capsys.readouterr().err.startswith("train.doctor: there is no option --jsn: did you mean --json?")


@pytest.mark.gpu
@pytest.mark.parametrize("name", PROBED)
def test_kernels_on_a_gpu(name):
    """That the probe's own calls fit: its figures are judged by the doctor, not by a test."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    if environment.run([sys.executable, "-m", "train.doctor.probe", "imports"]).error:
        pytest.skip("mamba-ssm is not installed or does not import: make mamba")
    figures = environment.run([sys.executable, "-m", "train.doctor.probe", name]).figures
    assert figures.keys() == LAYER.keys()
    assert figures["second seconds"] < figures["first seconds"]
