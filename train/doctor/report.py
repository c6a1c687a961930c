"""`python -m train.doctor`: what is installed, whether its kernels compute what plain torch does, and fifteen known issues.

One line a check: ok, warning or wrong, then what, then the command that mends it. Exit status 1 if anything is wrong.
Whatever could crash runs in a process of its own (train/doctor/probe.py); mamba-ssm is never imported here.
"""

import platform
import sys
from dataclasses import asdict

from dx7data import process
from dx7data.errors import suggest_install
from dx7data.output import configure, format_count, print_result
from train.doctor.environment import Facts, Outcome, gather, parse_version
from train.doctor.issues import DIFFERS, GB, INSTALL, REBUILD, TRAIN, Line, issues, ok, warning, wrong
from train.options import Parser

# Of outputs and of gradients, relative to the peak. Mamba3's kernel rounds its inputs to bfloat16 whatever they are.
BOUNDS = {"mamba3": (2e-2, 5e-2)}
USUAL_BOUNDS = 1e-3, 2e-2
REMOVE = "; if that does not, .venv/bin/pip uninstall mamba-ssm causal-conv1d: plain torch then takes their place"
FLOORS = {
    "torch": ((2, 11), "the kernels were tried with 2.11", TRAIN),
    "triton": ((3, 5), "mamba-ssm needs 3.5", TRAIN),
    "mamba-ssm": ((2, 2, 5), "its gradients of A and dt are wrong before 2.2.3, bf16 gives NaN before 2.2.5", INSTALL),
    "causal-conv1d": ((1, 4), "mamba-ssm calls it with arguments that it does not know", INSTALL),
}


def versions(facts: Facts) -> list[Line]:
    judge = wrong if facts.gpu else warning
    lines = [ok(f"python {platform.python_version()}")]
    for name, version in facts.versions.items():
        floor, why, mend = FLOORS.get(name, ((), "", ""))
        if version is None:
            lines.append(missing(name))
        elif facts.is_below(name, *floor):
            lines.append(judge(f"{name} {version}: {why}", mend))
        else:
            lines.append(ok(f"{name} {version}"))
    torch, torchaudio, numpy = (facts.versions[name] for name in ("torch", "torchaudio", "numpy"))
    if torch and torchaudio and parse_version(torch)[:2] != parse_version(torchaudio)[:2]:
        lines.append(judge(f"torch {torch} and torchaudio {torchaudio} are not a pair", TRAIN))
    if facts.versions["numba-cuda"] and parse_version(numpy or "")[:2] >= (2, 5):
        lines.append(judge(f"numba-cuda calls what numpy {numpy} no longer has", suggest_install("cuda")))
    return lines


def missing(name: str) -> Line:
    if name in ("torch", "torchaudio"):
        return wrong(f"{name} is not installed", TRAIN)
    return ok(f"{name} is not installed (optional)")


def machine(facts: Facts) -> list[Line]:
    found = facts.machine.figures
    if not found:
        return [wrong(f"torch does not work: {facts.machine.error}", TRAIN)]
    lines = [ok(f"CUDA {found['cuda']} of torch, nvcc {found['nvcc'] or 'missing (only `make mamba` needs it)'}")]
    if found["gpu"]:
        free, total = found["free"] / GB, found["total"] / GB
        name = facts.driver or found["gpu"]
        lines.append(ok(f"{name}, compute capability {found['capability']}, {free:.1f} of {total:.1f} GB free"))
    elif facts.driver:
        what = f"torch can't use the GPU ({facts.driver}): {found['reason']}"
        lines.append(wrong(what, f"install a driver for CUDA {found['cuda']}" if found["cuda"] else TRAIN))
    else:
        lines.append(warning("no CUDA GPU here: no kernel was run; what follows holds for plain torch on the CPU"))
    return lines


def guards(facts: Facts) -> list[Line]:
    if facts.guards.figures:
        return [ok("layers, weights, sizes and estimates of memory: tried, see the issues below")]
    return [wrong(f"they do not run: {facts.guards.error}", DIFFERS)]


def kernels(facts: Facts) -> list[Line]:
    if not facts.kernels:
        return []
    if not facts.imports.figures:
        return [
            wrong(f"mamba-ssm and causal-conv1d do not import: {facts.imports.error}", suggest_cure(facts.imports.error))
        ]
    return [layer(name, outcome) for name, outcome in facts.layers.items()]


def layer(name: str, outcome: Outcome) -> Line:
    if not outcome.figures:
        return wrong(f"{name}: {outcome.error}", suggest_cure(outcome.error))
    off = dict(outcome.figures["off"])
    output, worst = off.pop("output"), max(off, key=off.__getitem__)
    output_bound, gradient_bound = BOUNDS.get(name, USUAL_BOUNDS)
    first, second = outcome.figures["first seconds"], outcome.figures["second seconds"]
    what = (
        f"{name}: off plain torch by {output:.1e} of the peak (at most {output_bound:g}), gradients by {off[worst]:.1e} "
        f"(at most {gradient_bound:g}; {worst}); first call {first:.1f} s, second {second:.3f} s"
    )
    return ok(what) if output <= output_bound and off[worst] <= gradient_bound else wrong(what, suggest_cure(""))


def suggest_cure(error: str) -> str:
    if "No module named" in error:
        return INSTALL
    if "out of memory" in error:
        return "nvidia-smi  # shows who has the GPU's memory"
    if "no answer" in error:
        return "python -m train.doctor  # again: what has been compiled is kept"
    return REBUILD + REMOVE


def report(facts: Facts) -> dict[str, list[Line]]:
    """Lines by heading."""
    return {
        "versions": versions(facts),
        "machine": machine(facts),
        "our own guards": guards(facts),
        "kernels against plain torch, on this GPU": kernels(facts),
        "issues of state-spaces/mamba": issues(facts),
    }


def show(groups: dict[str, list[Line]]) -> int:
    """Print the lines; the exit status."""
    statuses = [line.status for lines in groups.values() for line in lines]
    counts = {status: statuses.count(status) for status in ("wrong", "warning", "ok")}
    print_result(
        {"checks": {heading: [asdict(line) for line in lines] for heading, lines in groups.items()}, **counts}, describe
    )
    return int("wrong" in statuses)


def describe(found: dict) -> list[str]:
    """The lines under their headings, and how many there are of each kind."""
    shown = []
    for heading, lines in found["checks"].items():
        if lines:
            shown += [heading, *(f"  {Line(**line)}" for line in lines), ""]
    return [*shown, f"{found['wrong']} wrong, {format_count(found['warning'], 'warning')}, {found['ok']} ok"]


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 0, 1 if anything is wrong, 2 for a person's error, 130 for Ctrl-C."""

    def read_and_examine() -> int:
        parser = Parser("train.doctor", __doc__.split("`: ")[1])
        configure(parser.read(sys.argv[1:] if argv is None else argv))
        return show(report(gather()))

    return process.run("train.doctor", read_and_examine)
