"""How exactly must a model know a voice? Targets with one parameter of their patch a step off, against the right ones.

    PYTHONPATH=. python benchmarks/tolerance.py PLAN [--split val] [--samples 400]

PLAN: the folder of a plan; samples are the first ones of the split. Of each kind of parameter, those that can be heard in
the patch are moved by one step, up or down: one of them, then all. The target is rendered again, the same phrase, to the
sample. The SNR of that clip, with the right one as the signal, is what a model reaches that knows everything else exactly.
Where nothing changes, a sample does not count.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from dx7data.audio import clips
from dx7data.patches.audible import find_audible
from dx7data.patches.patch import FIELDS, MAXIMA
from dx7data.plan.plan import Plan
from dx7data.plan.score import make_score
from dx7data.rng import KeyedRng

OPERATOR = (
    "frequency_coarse",
    "frequency_fine",
    "detune",
    "output_level",
    "key_velocity_sensitivity",
    "amp_mod_sensitivity",
)
ENVELOPE = tuple(f"eg_{what}_{i}" for what in ("rate", "level") for i in (1, 2))
COMMON = ("algorithm", "feedback", "transpose", "lfo_speed", "pitch_eg_level_1")
BATCH = 50  # clips rendered at once


def list_fields(kind):
    """Indices of the fields of a kind: one of each operator, or one alone."""
    return np.flatnonzero([name == kind or (name.startswith("op") and name.endswith(f"_{kind}")) for name in FIELDS])


def move(rng, patch, heard, kind, every):
    """The patch with one heard field of a kind a step off, or every one; unchanged if it has none."""
    fields = [field for field in list_fields(kind) if heard[field]]
    if fields and not every:
        fields = [rng.pick(fields)]
    moved = patch.copy()
    for field in fields:
        step = 1 if rng.below(2) else -1
        value = int(patch[field])
        moved[field] = value + step if 0 <= value + step <= MAXIMA[field] else value - step
    return moved


def render(plan, choices, stored):
    """The targets, int16 (B, L), of samples played by other patches, uint8 (B, 155)."""
    found = []
    for begin in range(0, len(choices), BATCH):
        rows = range(begin, min(begin + BATCH, len(choices)))
        played = [replace(choices[i], layers=(i,)) for i in rows]
        other = replace(plan, patches=replace(plan.patches, stored=stored))
        found.append(clips.render_clips(**make_score(other, played))[0][len(played) :])
    return np.concatenate(found).astype(np.float64)


def measure(plan, split, samples):
    """Of each kind of parameter, one and all of them moved: the SNR of each clip that changed, in dB."""
    choices = [plan.choose(split, j) for j in range(samples)]
    stored = plan.patches.stored[[choice.layers[0] for choice in choices]]
    heard, right = find_audible(stored), render(plan, choices, stored)
    for kind in (*OPERATOR, *ENVELOPE, *COMMON):
        found = []
        for every in (False, True):
            rngs = (KeyedRng("tolerance", kind, i) for i in range(samples))
            moved = [move(rng, *each, kind, every) for rng, *each in zip(rngs, stored, heard, strict=True)]
            signal, noise = (right**2).sum(1), ((render(plan, choices, np.stack(moved)) - right) ** 2).sum(1)
            counted = (noise > 0) & (signal > 0)
            found.append(10 * np.log10(signal[counted] / noise[counted]))
        yield kind, *found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--samples", type=int, default=400)
    options = parser.parse_args()
    plan = Plan.load(options.plan)
    print(f"{options.plan}, {plan.fingerprint[:12]}: the first {options.samples} samples of {options.split}\n")
    print("| a step off | clips | one: median dB | above 10 dB | all: median dB | above 10 dB |\n|---|---|---|---|---|---|")
    for kind, *found in measure(plan, options.split, options.samples):
        if len(found[0]):
            cells = [f"{np.median(snr):.1f} | {(snr > 10).mean():.0%}" for snr in found]
            print(f"| {kind} | {len(found[0])} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
