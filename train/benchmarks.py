"""Data sets to compare models on, the same everywhere: a recipe each, and the fingerprint of the plan that it makes."""

import logging
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from dx7data.errors import InputError
from dx7data.output import log
from dx7data.plan.plan import Plan

# Half seconds at 8 kHz, one note at a time; a million samples, so that no run of 20,000 steps meets one twice.
_CLIPS = ("--seconds", "0.5", "--sample-rate", "8000", "--kinds", "melody", "--polyphony", "1", "--samples", "1000000")


@dataclass(frozen=True)
class Benchmark:
    """What makes a data set, and what trains on it."""

    plan: tuple[str, ...]  # options of `dx7data plan`
    fingerprint: str  # of that plan
    train: tuple[str, ...]  # options of `python -m train`
    breed: tuple[str, ...] = ()  # options of `dx7data patches breed`, which makes the bank; none: the example bank

    def list_commands(self, bank: str, plan: str) -> list[tuple[str, ...]]:
        """What makes its plan in a folder: the words after `dx7data`. bank: the file for patches that are bred."""
        making = ("plan", "--patches", bank if self.breed else "example", "--out", plan, *self.plan)
        return [*([("patches", "breed", "example", "--out", bank, *self.breed)] if self.breed else []), making]


# Of the near-duplicate groups, 2 % are held out for validation, which is `unseen`, and 2 % for the test.
_ANY_VOICE = Benchmark(
    breed=("--count", "22000", "--generations", "4", "--random", "2000"),
    plan=(*_CLIPS, "--prefix", "bytes", "--split", "0.96,0.02,0.02"),
    fingerprint="46b7a1ca675b8b02f328ae181bf058b579da35049bb94f3700eb7f4e0d729223",
    train=("--preset", "seed", "--prefix", "bytes"),
)
# The same with few of its patches in training, which are nested, and with all that are held out.
_FEW_PATCHES = {
    32: "d766de2a618a58d4c9150b90d29afa5f932ee9a25d5c3f379f7730114eba84a0",
    320: "16206095d444d14ba3beadc31379131d527a8940d7179507e813739dcea736d2",
    3200: "adeb2055b4a2dcf6754778b04653a3be252a9928fbf3e6d536ee887b7587a1f3",
}
# The same recipe of simpler voices: see dx7data/patches/simplify.py.
_SIMPLER_VOICES = {
    "carrier": "f3ba61585654b5d3ea489f6c03cb7573446bdd16134117cab0870c6df7effe80",
    "carriers": "ef27e885f43c5884cc6c10df43b87ad8c86624d5369d2105d10ee94fa5154f4a",
    "ratios": "9407dde9fb88983246f543f34a74a7bc5609a771bec79c55aad33b524a424fd6",
    "pair": "3315c816afdeeff9c4f32543501e5d3086ab1ebe4a3acd9d83b5aa7b4d6271c0",
    "harmonic": "bbc886faef9f2ffd4669e6475593ff5201ff07d2b3d7d2d722b09b2edb3f2bf6",
    "steady": "2474c8d2e90b765cff1efbb547271482f6df2d2b2e425a2d711128c72e93c3ce",
}

BENCHMARKS = {
    # An electric piano whose timbre follows velocity, which the source tells.
    "one-voice": Benchmark(
        plan=(*_CLIPS, "--targets", "TINE GLOW", "--split", "0.98,0.01,0.01"),
        fingerprint="d82ef00b114bf0dff3dc0f93f33f9e3ff4bd9a352892d8d3cca84f027a597029",
        train=("--preset", "seed"),
    ),
    "any-voice": _ANY_VOICE,
    **{
        f"any-voice-{count}": replace(
            _ANY_VOICE, plan=(*_ANY_VOICE.plan, "--train-patches", str(count)), fingerprint=fingerprint
        )
        for count, fingerprint in _FEW_PATCHES.items()
    },
    **{
        f"any-voice-{name}": replace(_ANY_VOICE, breed=(*_ANY_VOICE.breed, "--simplify", name), fingerprint=fingerprint)
        for name, fingerprint in _SIMPLER_VOICES.items()
    },
}


def find_plan(folder: Path) -> Path:
    """Where a study in this folder has its plan."""
    return folder / "plan"


def prepare(name: str, folder: Path, banks: Path | None = None) -> None:
    """Make the plan of a benchmark in the folder of a study, if it is not there. Raises InputError if it is another one.

    banks: the folder where a bank is bred, which benchmarks of the same patches share; the study's own if not named.
    """
    benchmark, plan = BENCHMARKS[name], find_plan(folder)
    bred_for = next(each for each, other in BENCHMARKS.items() if other.breed == benchmark.breed)
    bank = (banks or folder) / f"{bred_for}.syx"
    if not (plan / "dataset.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for words in benchmark.list_commands(str(bank), str(plan)):
            if words[0] != "patches" or not bank.exists():
                _call(*words)
    found = Plan.load(plan).fingerprint
    if found != benchmark.fingerprint:
        raise InputError(
            f"{plan} has fingerprint {found[:12]}, {name} has {benchmark.fingerprint[:12]}: name another --out; if "
            "that does not help, this version of dx7data makes other data than the one of the benchmark"
        )


def _call(*argv: str) -> None:
    """A command of dx7data. Raises InputError if it fails; it says why itself."""
    quiet = [] if log.isEnabledFor(logging.INFO) else ["--quiet"]
    done = subprocess.run([sys.executable, "-m", "dx7data", *argv, *quiet], stdout=subprocess.PIPE, text=True)
    log.info(done.stdout.rstrip())
    if done.returncode:
        raise InputError(f"`dx7data {argv[0]}` failed, as it says above")
