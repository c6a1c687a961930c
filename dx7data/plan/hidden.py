"""What is hidden in a data set: what the target of a sample shows, and neither its source nor its prefixes reveal.

For a few dozen samples one thing at a time is drawn anew (variation.py) and both sides are rendered. Where the source stays
the same and the target does not, no model can know the thing. All sums are of integers: the figures are the same everywhere.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from dx7data.audio import clips, mulaw
from dx7data.output import format_count, progress_bar
from dx7data.patches import patch
from dx7data.plan import sample, score
from dx7data.plan.plan import Plan
from dx7data.plan.recipe import Recipe
from dx7data.plan.spec import RANDOM_SOURCE, Choice, Spec
from dx7data.plan.split import divide_evenly
from dx7data.plan.variation import OF_NOTES, Pool, shorten
from dx7data.rng import KeyedRng

RENDERS = 8  # of each sample and thing: as the data set has it, and with the thing drawn anew
WORTH_A_WARNING = 0.05  # of the samples
# Samples; between them, so many that they are _SECONDS of clips, so that planning takes a few seconds.
_MIN_SAMPLES, _MAX_SAMPLES = 8, 32
_SECONDS = 80
_MAX_SECONDS = 10  # seconds: of longer clips only the beginning is rendered
_POOL = 2  # times as many samples are what things are drawn from
_DIVISIBLE = math.lcm(*range(1, RENDERS + 1))
_SINE = patch.pack(patch.SINE).tobytes().hex()
_LOUDNESS = ("velocity", "volume", "expression")


class _Tally:
    """What came out for one thing."""

    def __init__(self) -> None:
        self.samples = self.changed = self.hidden = 0
        # Of the samples in which one note was changed, and of those in which all were: see _sum_energies.
        self._energies = np.zeros((2, 2), object)

    def add(self, heard: list[np.ndarray], targets: list[np.ndarray], all_notes: bool) -> None:
        """Count the renders of a sample, of which the first is as the data set has it."""
        changed = [_differ(targets[0], other) for other in targets]
        self.samples += 1
        self.changed += any(changed)
        self.hidden += any(differs and not _differ(heard[0], other) for differs, other in zip(changed, heard, strict=True))
        self._energies[int(all_notes)] += _sum_energies(heard, targets)

    def report(self) -> dict:
        """The best SNR is the lower one: what one note hides and what all of them hide both stand in a model's way."""
        limits = [10 * math.log10(whole / missed) for whole, missed in self._energies.tolist() if missed]
        return {
            "samples": self.samples,
            "changed": self.changed,
            "hidden": self.hidden,
            "best_snr": round(min(limits), 1) if limits and self.hidden else None,
        }


def measure(plan: Recipe) -> dict:
    """What is hidden in a plan.Plan, for JSON.

    Of each thing by its name: in how many `samples` it was drawn anew, in how many of these the target `changed`, in how
    many that was `hidden`, since what a model hears did not, and `best_snr`, the best that any model could reach, in dB.

    A clip has changed when it differs by more energy than 8-bit mu-law adds, where it differs, to the worse of the two. In
    every other sample all notes get another velocity, key, start or length, else one of them does: so the limit is that
    of all notes, and what single notes hide is found too. best_snr: sum of t^2 over sum of (t - mean t)^2, the mean over
    renders of which a model hears the same mu-law classes; None: nothing is hidden, or it leaves a trace in the classes.
    """
    short = replace(plan, spec=replace(plan.spec, seconds=min(plan.spec.seconds, _MAX_SECONDS)))
    count = max(_MIN_SAMPLES, min(_MAX_SAMPLES, int(_SECONDS / short.spec.seconds)))
    trials = list(_draw_trials(plan, short.spec, min(count, sum(plan.counts.values()))))
    rendered = _render(short, [choice for _, _, choices in trials for choice in choices])
    tallies: dict[str, _Tally] = {}
    for thing, all_notes, choices in trials:
        if thing is None:  # the sample as it is
            first = next(rendered)
            continue
        heard, targets = zip(first, *(next(rendered) for _ in choices), strict=True)
        tallies.setdefault(thing, _Tally()).add(heard, targets, all_notes)
    return {
        "samples": sum(thing is None for thing, _, _ in trials),
        "renders": RENDERS,
        "seconds": short.spec.seconds,
        "things": {thing: tally.report() for thing, tally in tallies.items()},
    }


def _draw_trials(plan: Recipe, spec: Spec, samples: int) -> Iterator[tuple[str | None, bool, list[Choice]]]:
    """Of each sample first itself, without a thing; then of each thing whether all notes get it anew, and what to render.

    spec: with the seconds to render. The samples are divided among the splits as all are.
    """
    for split, share in zip(plan.counts, divide_evenly(samples, list(plan.counts.values())), strict=True):
        count = max(_MIN_SAMPLES, _POOL * share)  # may be more than there are in the split
        choices = [plan.choose(split, j) for j in range(count)]
        choices = [replace(choice, phrase=shorten(choice.phrase, spec.seconds)) for choice in choices]
        pool = Pool(spec, choices, plan.targets[split])
        for j, choice in enumerate(choices[:share]):
            yield None, False, [choice]
            one_note = pool.pick_note(choice, KeyedRng(spec.seed, "hidden", split, j))
            for thing in pool.list_things(choice):
                rng, all_notes = KeyedRng(spec.seed, "hidden", split, j, thing), j % 2 == 1 or thing not in OF_NOTES
                which = range(len(choice.phrase.notes)) if all_notes else one_note
                yield thing, all_notes, [pool.vary(choice, thing, which, rng) for _ in range(RENDERS - 1)]


def _render(plan: Recipe, choices: list[Choice]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each choice what a model hears, its prefixes and its source, and the target; int16."""
    batch = sample.batch_size(plan)
    with progress_bar(total=len(choices), desc="measure what is hidden", unit="clip", delay=1, leave=False) as bar:
        for done in range(0, len(choices), batch):
            part = choices[done : done + batch]
            audio = clips.render_clips(**score.make_score(plan, part))[0]
            prefixes = sample.encode_prefixes(plan, part, "cpu").values()
            bar.update(len(part))
            yield from zip(np.concatenate([*prefixes, audio[: len(part)]], axis=1), audio[len(part) :], strict=True)


def _differ(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether more energy is between two clips than mu-law adds to the worse of them where they differ."""
    where = one != other
    if not where.any():
        return False
    one, other = one[where], other[where]
    return bool(
        np.square(np.subtract(one, other, dtype=np.int64)).sum() > max(mulaw.measure_noise(one), mulaw.measure_noise(other))
    )


def _sum_energies(heard: list[np.ndarray], targets: list[np.ndarray]) -> list[int]:
    """Energy of the targets; and what is left of it without the mean over those that sound the same to a model.

    Both times _DIVISIBLE, so that they are whole numbers: n renders leave (n sum t^2 - (sum t)^2) / n.
    """
    same: dict[bytes, list[np.ndarray]] = {}
    for source, target in zip(heard, targets, strict=True):
        same.setdefault(mulaw.encode(source).tobytes(), []).append(target)
    whole = missed = 0
    for group in same.values():
        energy = sum(int(np.square(target, dtype=np.int64).sum()) for target in group)
        whole += _DIVISIBLE * energy
        if len(group) > 1:
            total = np.sum(group, axis=0, dtype=np.int64)
            missed += _DIVISIBLE // len(group) * (len(group) * energy - int(np.square(total).sum()))
    return [whole, missed]


# --- In words ---


def describe(report: dict | None) -> list[str]:
    """The report in words: a line for each thing that is hidden, and one for those that can be heard."""
    if report is None:
        return ["not measured: an older version made this plan"]
    found, samples = [], format_count(report["samples"], "sample")
    for thing, each in report["things"].items():
        if each["hidden"]:
            limit = "" if each["best_snr"] is None else f": no model can reach an SNR above about {each['best_snr']} dB"
            found.append(f"{thing} is hidden in {each['hidden']} of {format_count(each['samples'], 'sample')}{limit}")
    heard_by_model = [thing for thing, each in report["things"].items() if each["changed"] and not each["hidden"]]
    idle = [thing for thing, each in report["things"].items() if not each["changed"]]
    if heard_by_model:
        found.append(f"not hidden in any of {samples}: {', '.join(heard_by_model)}")
    if idle:
        found.append(f"no target of {samples} changes with {', '.join(idle)}")
    return found or ["nothing to measure"]


def list_warnings(plan: Plan) -> list[str]:
    """A sentence, with the option that mends it, for each cause of things that are hidden in more than a few samples."""
    causes: dict[str, list[str]] = {}
    report = plan.hidden or {"things": {}}
    for thing, each in report["things"].items():
        if each["hidden"] > WORTH_A_WARNING * each["samples"]:
            causes.setdefault(_explain(thing, plan), []).append(thing)
    return [f"Warning: the target changes with {' and '.join(things)}, but {cause}" for cause, things in causes.items()]


def _explain(thing: str, plan: Recipe) -> str:
    source, level = plan.spec.source, plan.spec.gain
    if thing == "patch" or thing.startswith("layer"):
        return "neither source nor prefix tells which patch it is: add --prefix bytes"
    if source == RANDOM_SOURCE:
        return "many source patches do not: use --source sine"
    if source != _SINE:
        return f"the source, {patch.patch_name(score.get_source_patch(plan)).strip()}, does not: use --source sine"
    if level != "native" and (level != "peak" or thing in _LOUDNESS):
        return f"--gain {level} removes that from the source: use --gain native"
    return "the source does not: keys above half the sample rate are silent in it, so a higher --sample-rate may help"
