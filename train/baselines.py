"""`python -m train.baselines`: what can be had without a model, and what mu-law leaves, on the clips of an evaluation.

A run with the same data, crop and number of clips is evaluated on these clips, so its figures stand between these: order-0,
silence and the copied source below, the target through mu-law and back above.
"""

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torchaudio
from torch import Tensor

from dx7data import process
from dx7data.errors import InputError, explain_os_errors
from dx7data.files import check_output, read_regular, write_output
from dx7data.output import align_columns, configure, format_count, log, print_result, progress_bar
from dx7data.patches.similarity import Codes, find_nearest
from models.mulaw import mu_law_encode, mu_law_table
from train import config
from train.arguments import NO_PLACE, add_places, find_place
from train.config import Count, DataSettings, RunSettings
from train.data.clips import Clips
from train.data.web import UrlClips
from train.documents import MAX_JSON_BYTES
from train.evaluation import metrics
from train.evaluation.bootstrap import describe_error, standard_error
from train.evaluation.evaluate import HeldOut, average, load_held_out, replay, spectral_distances
from train.evaluation.verdict import UNIFORM_BITS
from train.loop.loader import open_training_clips
from train.options import Parser, setting

TAPS = 512  # of the linear filter: 64 ms at 8 kHz
HEAD = ["set", "baseline", "bits", "SNR dB", "STFT", "log-mel dB"]
# What must be the same in a run, or its clips are not these.
CONDITIONS = ("fingerprint", "split", "sample_rate", "seconds", "evaluate_samples")
_FITTED = 1 << 20  # samples of training that the filter is fitted on, 256 clips of 0.5 s at 8 kHz: half a minute on a CPU
_RIDGE = 1e-9  # of the mean power, added to it: sines of a few keys leave most of a filter undetermined
_AT_ONCE = 64  # clips
_DIGITS = {"snr_db": 1, "mrstft": 2, "mel_db": 1}  # digits of each column


@dataclass(frozen=True)
class BaselineOptions:
    """Beside the options of the data: those are of `train`."""

    preset: Literal["tiny", "seed", "base"] = setting("seed", "of rate and seconds")
    samples: Count = setting(1024, "clips of each set", metavar="N")
    out: Path = setting(Path("baselines.json"), "where the figures are put", metavar="FILE")


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 0, 2 for a person's error, 130 for Ctrl-C."""

    def measure_and_write() -> None:
        settings, out = read_options(sys.argv[1:] if argv is None else argv)
        check_output(out, (".json",))
        found = measure(settings)
        write(out, found)
        print_result({"file": str(out), **found}, describe, out)

    return process.run("train.baselines", measure_and_write, "stopped; nothing was written")


def read_options(argv: list[str]) -> tuple[RunSettings, Path]:
    """The settings of a run with these options, whose model is not used, and where to write. Raises InputError."""
    what = "Measures floors and a ceiling of a data set. Give it the data options of the run that it is for."
    parser = Parser("train.baselines", what)
    add_places(parser)
    parser.add_fields(DataSettings, ("split", "skip_missing", "sample_rate", "seconds"), group="data", shown=config.seed())
    parser.add_fields(BaselineOptions)
    given = find_place(parser.read(argv))
    configure(given)
    if "shards" not in given:
        raise InputError(NO_PLACE)
    own = BaselineOptions(**{name: given.pop(name) for name in ("preset", "samples", "out") if name in given})
    return config.make_settings(model="s4d", preset=own.preset, evaluate_samples=own.samples, **given), own.out


def measure(settings: RunSettings) -> dict:
    """Every baseline on each evaluation set of a run: what baselines.json holds. Raises InputError."""
    # No baseline hears a prefix, and no crop depends on it.
    data = open_training_clips(dataclasses.replace(settings, prefix=None))
    if isinstance(data, UrlClips):
        raise InputError(f"{settings.shards} is read by webdataset: what training sees can't be told apart there")
    sets = load_held_out(data, settings.evaluate_samples)
    if not sets:
        raise InputError(f"{settings.shards} has no clips that training does not see: there is nothing to measure")
    names = ", ".join(one.name for one in sets)
    log.debug(f"{format_count(sum(map(len, sets)), 'clip')} in {names}; fitting a filter of {TAPS} taps")
    taps = fit_filter(training_clips(data), TAPS)
    about = {"fingerprint": data.fingerprint, "split": settings.split, "sample_rate": data.format.sample_rate}
    about |= {"seconds": settings.seconds, "evaluate_samples": settings.evaluate_samples}
    found = {one.name: measure_set(one, taps) for one in sets}
    if (unseen := sets[0]).name == "unseen" and not data.plan.old_fingerprint:
        found["unseen"]["the nearest training patch"] = measure_nearest(data, unseen)
    return about | {"sets": {one.name: {"samples": len(one), "baselines": found[one.name]} for one in sets}}


def measure_set(one: HeldOut, taps: Tensor) -> dict[str, dict[str, float]]:
    """Means over the clips of a set: of "bits" with their standard error, or of what audio can be compared by."""
    table = mu_law_table()
    source, target = (mu_law_encode(audio, table) for audio in (one.examples.source, one.examples.target))
    coded = {
        "order-0": metrics.order0_bits(target),
        "order-0, given the source's class": metrics.conditional_bits(target, source),
    }
    found = {"uniform": {"bits": UNIFORM_BITS, "bits_se": 0.0}}
    found |= {name: {"bits": each.mean().item(), "bits_se": standard_error(each.numpy())} for name, each in coded.items()}
    made: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # of source and target
        "silence": lambda source, target: torch.zeros_like(target),
        "the source": lambda source, target: source,
        f"a linear filter, {len(taps)} taps": lambda source, target: apply_filter(source, taps),
        "ceiling: the target through mu-law": lambda source, target: metrics.through_mu_law(target),
    }
    return found | {name: _compare(one, make) for name, make in made.items()}


def measure_nearest(data: Clips, unseen: HeldOut) -> dict[str, float]:
    """What each phrase would be if the training patch most like the target's played it.

    That is the one that differs in the fewest parameters that can be heard (similarity.py), the first of several. Through
    mu-law, for one that sounds the same would have no noise at all.
    """
    patches = data.plan.patches
    ours, others = np.flatnonzero(patches.within("val")), np.flatnonzero(patches.within(data.split) & patches.targets)
    labels = np.zeros(len(ours), np.int64), np.ones(len(others), np.int64)
    _, nearest = find_nearest(Codes(patches.stored[ours]), Codes(patches.stored[others]), *labels)
    stored = patches.stored.copy()
    stored[ours] = patches.stored[others[nearest]]
    plan = dataclasses.replace(data.plan, patches=dataclasses.replace(patches, stored=stored))
    played = replay(data, unseen, plan).examples.target
    heard = dataclasses.replace(unseen, examples=unseen.examples._replace(source=played))
    return _compare(heard, lambda played, target: metrics.through_mu_law(played))


def _compare(one: HeldOut, make: Callable[[Tensor, Tensor], Tensor]) -> dict[str, float]:
    parts = []
    for examples in one.batches(_AT_ONCE):
        source, target = examples.source / 32768, examples.target / 32768
        audio = make(source, target)
        distances = spectral_distances(audio, target, one.sample_rate)
        parts.append({"snr_db": metrics.snr_db(audio, target), **distances})
    columns = {name: torch.cat([part[name] for part in parts]).double() for name in parts[0]}
    return average(columns, one.examples.target)


# --- The linear filter ---


def training_clips(data: Clips) -> Iterator[tuple[Tensor, Tensor]]:
    """Sources and targets, float64 (L,) in -1..1, of the first samples of the split, as cropped in the first epoch."""
    count = min(len(data), -(-_FITTED // (data.format.crop or data.format.length)))
    parts = [list(range(i, min(i + _AT_ONCE, count))) for i in range(0, count, _AT_ONCE)]  # made together, they take less
    for part in progress_bar(parts, desc="fit the filter", leave=False, delay=2):
        for _, source, target in data.__getitems__(part):
            yield source.double() / 32768, target.double() / 32768


def fit_filter(clips: Iterator[tuple[Tensor, Tensor]], taps: int) -> Tensor:
    """Least squares (Wiener), float64 (taps,): what makes the target of the sample and the taps - 1 before it.

    Causal as the models are, and like them without what was before a clip: that is silence.
    """
    products, wanted = torch.zeros(taps, taps, dtype=torch.float64), torch.zeros(taps, dtype=torch.float64)
    for source, target in clips:
        past = torch.nn.functional.pad(source, (taps - 1, 0)).unfold(0, taps, 1)  # (L, taps), the sample itself last
        products += past.T @ past
        wanted += past.T @ target
    ridge = _RIDGE * products.diagonal().mean().clamp(min=1e-12)
    return torch.linalg.solve(products + ridge * torch.eye(taps, dtype=torch.float64), wanted).flip(0)


def apply_filter(source: Tensor, taps: Tensor) -> Tensor:
    """float32 (B, L) of float32 (B, L)."""
    return torchaudio.functional.fftconvolve(source.double(), taps[None])[:, : source.shape[1]].float()


# --- What is written and shown ---


def write(path: Path, found: dict) -> None:
    """Raises InputError."""
    with explain_os_errors(f"can't write {path}"):
        write_output(path, (".json",), lambda file: file.write((json.dumps(found, indent=1) + "\n").encode()))


def read(path: Path) -> dict:
    """Raises InputError if it is not what `write` has written."""
    try:
        found = json.loads(read_regular(Path(os.path.realpath(path)), MAX_JSON_BYTES))  # a person may name a link
        if not isinstance(found, dict) or not {"sets", *CONDITIONS} <= found.keys():
            raise ValueError("it is no table of train.baselines")
        rows(found)
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise InputError(f"{path} can't be read ({error}): measure it again with python -m train.baselines") from None
    return found


def rows(found: dict) -> list[list[str]]:
    """Texts of a table with HEAD; empty where a measure makes no sense."""
    return [
        [
            f"{name}, {format_count(one['samples'], 'clip')}",
            baseline,
            f"{each['bits']:.3f}{describe_error(each['bits_se'])}" if "bits" in each else "",
            *(f"{each[column]:z.{digits}f}" if column in each else "" for column, digits in _DIGITS.items()),
        ]
        for name, one in found["sets"].items()
        for baseline, each in one["baselines"].items()
    ]


def describe(found: dict) -> list[str]:
    """What was measured and where it is: lines for a terminal."""
    return [*align_columns([HEAD, *rows(found)], 2), "", f"In {found['file']}, for train.compare --baselines"]


if __name__ == "__main__":
    process.run_main("train.baselines", main)
