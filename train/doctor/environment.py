"""What the doctor knows of this machine: versions, and what became of the probes, each run in a process of its own."""

import json
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Any

from dx7data.output import log, progress_bar
from train.wheels import ROOT

DISTRIBUTIONS = "torch", "torchaudio", "triton", "mamba-ssm", "causal-conv1d", "numpy", "numba", "numba-cuda"
PROBED = "mamba1", "mamba2", "mamba2-seed", "mamba3"  # whose layers are probed
TIMEOUT = 600  # s; compiling Mamba2's kernels for the first time can take a minute

DEATHS = {
    "SIGABRT": "a C++ library gave up",
    "SIGSEGV": "it used memory that is not its own, as extensions built for another torch do",
    "SIGKILL": "from outside, mostly because the machine's memory was full",
    "SIGILL": "it was built for another processor",
}


@dataclass(frozen=True)
class Outcome:
    """Of a probe: its figures, or why there are none. death: the signal that ended it."""

    figures: dict[str, Any] = field(default_factory=dict)  # empty where there are none
    error: str = ""
    death: str = ""


@dataclass(frozen=True)
class Facts:
    """All that the report is made of."""

    versions: dict[str, str | None]  # of DISTRIBUTIONS; None: not installed
    driver: str | None  # "NVIDIA H100 80GB HBM3, 580.65.06"; None: nvidia-smi lists no GPU
    machine: Outcome
    guards: Outcome
    imports: Outcome = Outcome()  # this and the layers run only where there are kernels
    layers: dict[str, Outcome] = field(default_factory=dict)  # of PROBED

    @property
    def gpu(self) -> bool:
        return bool(self.machine.figures and self.machine.figures["gpu"])

    @property
    def kernels(self) -> bool:
        """Whether Mamba layers take mamba-ssm's kernels here, or try to."""
        return self.gpu and self.versions["mamba-ssm"] is not None

    def is_below(self, name: str, *floor: int) -> bool:
        version = self.versions[name]
        return version is not None and parse_version(version) < floor


def parse_version(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))


def run(command: list[str], seconds: float = TIMEOUT) -> Outcome:
    """Run a command whose last line is JSON, with an "error" if it has one to tell."""
    try:
        child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=seconds)
    except subprocess.TimeoutExpired:
        return Outcome(error=f"no answer within {seconds:g} s, so it was stopped")
    said = child.stderr if child.returncode else child.stdout
    last = said.strip().splitlines()[-1] if said.strip() else f"exit status {child.returncode}"
    if child.returncode < 0:
        death = signal.Signals(-child.returncode).name
        return Outcome(error=f"killed by {death}: {DEATHS.get(death, 'a signal')} ({last})", death=death)
    if child.returncode:
        return Outcome(error=last)
    figures = json.loads(last)
    return Outcome(error=figures["error"]) if "error" in figures else Outcome(figures)


def gather() -> Facts:
    def version(name: str) -> str | None:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None

    names = progress_bar(["machine", "guards", "imports", *PROBED], leave=False, disable=None)

    def probe(name: str) -> Outcome:
        names.set_description(f"{name:12}")
        outcome = run([sys.executable, "-m", "train.doctor.probe", name])
        names.update()
        log.debug(f"{name}: {outcome.error or outcome.figures}")
        return outcome

    with names:
        facts = Facts({name: version(name) for name in DISTRIBUTIONS}, find_driver(), probe("machine"), probe("guards"))
        if facts.kernels:
            facts = replace(facts, imports=probe("imports"))
        if facts.imports.figures:
            with ThreadPoolExecutor(len(PROBED)) as pool:  # at once, for each compiles on one core
                found = pool.map(probe, PROBED)
                facts = replace(facts, layers=dict(zip(PROBED, found, strict=True)))
    return facts


def find_driver() -> str | None:
    try:
        command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.splitlines()[0] if said.returncode == 0 and said.stdout else None
