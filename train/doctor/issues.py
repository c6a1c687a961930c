"""Fifteen issues of state-spaces/mamba, met by those who used its layers before us: can each one happen here?

The answers follow from versions, from what the probes measured, and from our own guards, tried just now.
"""

from dataclasses import dataclass

from dx7data.errors import suggest_install
from train.doctor.environment import Facts

TRAIN = suggest_install("train")
INSTALL = "make mamba"
REBUILD = "rm -rf wheels && make mamba"
DIFFERS = "git diff models/  # what differs from what is tested"
GB = 1e9  # bytes


@dataclass(frozen=True)
class Line:
    status: str  # "ok", "warning" or "wrong"
    what: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{self.status:8} {self.what}" + (f" | mend: {self.mend}" if self.mend else "")


def ok(what: str) -> Line:
    return Line("ok", what)


def safe(why: str) -> Line:
    return ok(f"safe, {why}")


def warning(what: str, mend: str = "") -> Line:
    return Line("warning", what, mend)


def wrong(what: str, mend: str) -> Line:
    return Line("wrong", what, mend)


def kernels_unknown(facts: Facts) -> Line | None:
    """The answer about kernels where none ran."""
    if not facts.kernels:
        return safe("Mamba layers run in plain torch here")
    failed = [name for name, outcome in {"the import": facts.imports, **facts.layers}.items() if not outcome.figures]
    return warning(f"not known, for {failed[0]} failed: see above") if failed else None


def guards_unknown(facts: Facts) -> Line | None:
    return None if facts.guards.figures else warning("not known, for our own guards failed: see above")


def slow_start(facts: Facts) -> Line:
    slowest = max((outcome.figures for outcome in facts.layers.values()), key=lambda figures: figures["first seconds"])
    seconds = f"the first call took up to {slowest['first seconds']:.1f} s, the next {slowest['second seconds']:.3f} s"
    cache = facts.imports.figures["cache"]
    if not facts.imports.figures["cache writable"]:
        return wrong(f"{seconds}, and Triton can't keep its kernels in {cache}", "export TRITON_CACHE_DIR=FOLDER")
    return safe(f"{seconds}; training tunes nothing, compiles on all cores, and Triton keeps what it compiled in {cache}")


def larger_than_mamba1(facts: Facts) -> Line:
    one, two = (facts.guards.figures["bytes"][name] / GB for name in ("mamba1", "mamba2"))
    what = f"training estimates it first; 14 clips of 4,000 steps in torch: {two:.1f} GB with mamba2, {one:.1f} with mamba1"
    if facts.gpu and facts.machine.figures["free"] / GB < two:
        return warning(f"{what}, {facts.machine.figures['free'] / GB:.1f} are free", "nvidia-smi  # shows who has the rest")
    return safe(what)


def other_weights(facts: Facts) -> Line:
    if not facts.guards.figures["weights refused"]:
        return wrong("weights of Mamba1 load into Mamba2 as if they were its own", DIFFERS)
    return safe("Mamba2 refuses weights of Mamba1, and checkpoints hold the names of their layers")


def drop_in(facts: Facts) -> Line:
    if not facts.guards.figures["one contract"]:
        return wrong("Mamba1, 2 and 3 do not all give the shape (B, L, D) that they take", DIFFERS)
    return safe("Mamba1, 2 and 3 take (B, L, D) and give it; --model chooses")


def large_state(facts: Facts) -> Line:
    largest = facts.guards.figures["d_state"]
    if largest > 64:
        return warning(f"time grows with d_state, and one of models/registry.py has {largest}", "choose 64 or less there")
    return safe(f"d_state is at most {largest} in models/registry.py (mamba-ssm's own is 128), and runs log their tokens/s")


def memory_over_length(facts: Facts) -> Line:
    growth = facts.guards.figures["growth"]
    if growth > 2.2:
        return wrong(f"mamba2 needs {growth:.1f} times the memory for twice the steps: more than in proportion", DIFFERS)
    return safe(f"mamba2 needs {growth:.1f} times the memory for twice the steps; what does not fit is said at the start")


def long_context(facts: Facts) -> Line:
    if not facts.guards.figures["long refused"]:
        return wrong("tensors of 2^31 elements are not refused, and kernels compute them wrongly without an error", DIFFERS)
    return safe("layers refuse tensors of 2^31 elements, which kernels would compute wrongly without an error")


def slower_than_mamba1(facts: Facts) -> Line:
    one, two = (1000 * facts.layers[name].figures["second seconds"] for name in ("mamba1", "mamba2-seed"))
    what = f"one layer, forward and backward: {two:.1f} ms, Mamba1 {one:.1f} ms"
    if two > 5 * one:
        return warning(f"{what}; the CPU launches kernels too slowly", "python -m train --batch N  # a larger one")
    return safe(what)


def nan_loss(facts: Facts) -> Line:
    if facts.is_below("mamba-ssm", 2, 2, 5):
        return wrong(f"mamba-ssm {facts.versions['mamba-ssm']} gives NaN in bf16; 2.2.5 is the first that does not", INSTALL)
    bad = [f"{name}: {key}" for name, outcome in facts.layers.items() for key in outcome.figures["not finite in bf16"]]
    if bad:
        return wrong(f"not finite under bf16 autocast: {', '.join(bad)}", "python -m train --precision fp32")
    return safe("outputs and gradients of all layers are finite under bf16 autocast")


def backward_fails(facts: Facts) -> Line:
    if facts.kernels and facts.is_below("triton", 3, 5):
        return wrong(f"triton {facts.versions['triton']} can't compile all that mamba-ssm needs; 3.5 is its oldest", TRAIN)
    failed = [name for name, outcome in facts.layers.items() if outcome.error and not outcome.death]
    if failed:
        return wrong(f"no gradients from {', '.join(failed)}: see above", REBUILD)
    return kernels_unknown(facts) or safe(f"all layers gave their gradients, with triton {facts.versions['triton']}")


def aborts(facts: Facts) -> Line:
    outcomes = {"the import": facts.imports, **facts.layers}
    died = [f"{name} ({outcome.death})" for name, outcome in outcomes.items() if outcome.death]
    if died:
        return wrong(f"the process was killed in {', '.join(died)}: see above", REBUILD)
    return kernels_unknown(facts) or safe("no process was killed, forward or backward")


def describe_install(facts: Facts, name: str) -> Line:
    if not facts.gpu:
        return safe(f"without a GPU {name} is not needed")
    if facts.versions[name] is None:
        cuda, nvcc = facts.machine.figures["cuda"], facts.machine.figures["nvcc"]
        if nvcc is None or nvcc.split(".")[0] != cuda.split(".")[0]:
            toolkit = f"install the CUDA toolkit {cuda}, then {INSTALL}"
            return warning(f"{name} is not installed, and nvcc, which builds it, is {nvcc or 'missing'}", toolkit)
        return warning(f"{name} is not installed: plain torch takes its place, slower", INSTALL)
    if facts.imports.error and name.replace("-", "_") in facts.imports.error:
        return wrong(f"{name} does not import: see above", REBUILD)
    return safe(f"{name} {facts.versions[name]} is installed")


def install_convolution(facts: Facts) -> Line:
    return describe_install(facts, "causal-conv1d")


def install_mamba(facts: Facts) -> Line:
    return describe_install(facts, "mamba-ssm")


def undefined_symbol(facts: Facts) -> Line:
    if "undefined symbol" in facts.imports.error:
        return wrong(f"an extension was built for another torch than {facts.versions['torch']}", REBUILD)
    return kernels_unknown(facts) or safe(f"the extensions import beside torch {facts.versions['torch']}")


def lost_convolution(facts: Facts) -> Line:
    if facts.imports.figures["convolution lost"]:
        return wrong("causal-conv1d is installed, mamba-ssm can't use it and says nothing before it is called", REBUILD)
    return safe("mamba-ssm has causal-conv1d" if facts.versions["causal-conv1d"] else "our layers have their own kernel")


ISSUES = [  # number, title, what is asked first, the answer
    (389, "Mamba2 is very slow at first", kernels_unknown, slow_start),
    (439, "Mamba2 takes more memory than Mamba1", guards_unknown, larger_than_mamba1),
    (453, "Mamba1's weights in Mamba2", guards_unknown, other_weights),
    (475, "how to put Mamba2 in place of Mamba1", guards_unknown, drop_in),
    (479, "slow with a large d_state", guards_unknown, large_state),
    (495, "more memory than attention", guards_unknown, memory_over_length),
    (503, "CUDA error at long context", guards_unknown, long_context),
    (510, "Mamba2 is slower than Mamba1", kernels_unknown, slower_than_mamba1),
    (352, "loss is NaN", kernels_unknown, nan_loss),
    (373, "backward fails", None, backward_fails),
    (375, "aborted, core dumped", None, aborts),
    (55, "causal-conv1d does not install", None, install_convolution),
    (169, "undefined symbol", None, undefined_symbol),
    (467, "'NoneType' has no causal_conv1d_fwd", kernels_unknown, lost_convolution),
    (481, "mamba-ssm does not install", None, install_mamba),
]


def issues(facts: Facts) -> list[Line]:
    lines = []
    for number, title, first, answer in ISSUES:
        line = (first and first(facts)) or answer(facts)
        lines.append(Line(line.status, f"#{number} {title}: {line.what}", line.mend))
    return lines
