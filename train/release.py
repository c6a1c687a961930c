"""`python -m train.release`: makes a released model of a run: weights of 16 bits, settings, and a card of what was measured.

The folder is one that `train.convert --pretrained` and `train.releases.from_pretrained` read; train/releases/reader.py says
what is in it. Nothing in it names a path of this machine.
"""

import dataclasses
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dx7data import process
from dx7data.errors import InputError, explain_os_errors
from dx7data.output import log, print_result
from dx7data.patches.patch import patch_name
from dx7data.plan.plan import Plan
from train.arguments import choose_device
from train.benchmarks import BENCHMARKS
from train.config import RunSettings
from train.data.clips import Clips
from train.evaluation.evaluate import HeldOut, load_held_out
from train.loop import checkpoint
from train.loop.loader import open_training_clips
from train.loop.mirror import read_run
from train.options import parse, setting
from train.releases import measure, writer
from train.releases.reader import Pretrained, build_rounded, from_run
from train.releases.recipe import list_words
from train.results import reader


@dataclass(frozen=True)
class ReleaseOptions:
    """Which model, and where it is put."""

    run: Path = setting(
        help="a run, of which the last checkpoint is taken, or a checkpoint, such as RUN/checkpoints/best",
        positional=True,
        metavar="RUN",
        kwargs={"type": read_run},
    )
    out: Path = setting(help="the folder to make; its name is the model's: releases/one-voice", metavar="FOLDER")
    live: str | None = setting(
        None, "a folder with the plan of the run's data", metavar="FOLDER", shown="where it was in training"
    )
    device: Literal["cpu", "cuda"] | None = setting(None, "where it is measured", shown="cuda if there is one")


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 0, 2 for a person's error, 130 for Ctrl-C."""

    def read_and_release() -> None:
        what = "Makes a model that others can download of a run."
        release(parse(ReleaseOptions, sys.argv[1:] if argv is None else argv, "train.release", what))

    return process.run("train.release", read_and_release, "stopped; nothing was written")


def release(options: ReleaseOptions) -> None:
    """Make the folder. Raises InputError."""
    if os.path.lexists(options.out):
        raise InputError(f"{options.out} is there already: remove it, or name another --out")
    writer.check_place(options.out)
    device = choose_device(options.device)
    run = find_run(options.run)
    trained = from_run(options.run, device)
    settings, weights = trained.settings, writer.round_weights(trained.model)
    plan, sets = open_sets(trained, options.live, settings.evaluate_samples)
    log.info(f"measuring {settings.model_name} of step {trained.step:,} on {sum(map(len, sets)):,} clips, on {device}")
    trained = trained._replace(settings=forget_places(settings, plan))
    record = {"title": options.out.name, **describe_run(run, trained), **describe_data(trained.settings, plan)}
    recorded = {one.name: find_recorded(run, trained.step, one.name) for one in sets}
    rows = measure.measure(trained.model, build_rounded(settings, weights, device), sets, device)
    trained = trained._replace(decode=measure.choose_decoder(rows))
    record |= {"decoder_chosen_on": reader.choose_set(recorded)}
    record |= {"sets": [row | {"recorded_bits": recorded[row["set"]]} for row in rows]}
    with explain_os_errors(f"can't write {options.out}"):
        files = writer.write(options.out, trained, weights, record)
    found = {"folder": str(options.out), "step": trained.step, "decode": trained.decode, "bytes": sum(files.values())}
    print_result({**found, "files": files, "sets": record["sets"]}, describe)


def describe(found: dict) -> list[str]:
    """What was made, and what rounding has changed."""
    bits = (f"{row['set']} {row['bits']:.3f} bits ({row['change']:+.5f} by rounding)" for row in found["sets"])
    return [
        f"{found['folder']}: step {found['step']:,}, {found['bytes'] / 1e6:.1f} MB in {len(found['files'])} files; "
        f"{', '.join(bits)}; --decode {found['decode']}"
    ]


def find_run(path: Path) -> Path:
    """The folder of a run, of which the path is that or a checkpoint. Raises InputError if it has left no records."""
    real = Path(os.path.realpath(path))
    named = real.parent.name == checkpoint.FOLDER and not os.path.lexists(path / checkpoint.FOLDER)
    run = real.parent.parent if named else path
    reader.read_config(run)
    return run


def open_sets(trained: Pretrained, live: str | None, count: int) -> tuple[Plan, list[HeldOut]]:
    """The plan of a run's data, and the first clips that it was evaluated on, `count` of each set, or as many as there are.

    live: where the plan is now, if not where it was.

    Raises InputError if there is none, or one of other data.
    """
    settings = trained.settings
    settings = dataclasses.replace(settings, shards=settings.shards if live is None else live, reader="live")
    try:
        data = open_training_clips(settings)
    except InputError as error:
        raise InputError(f"{error}; --live names a folder with the plan of the run's data") from None
    assert isinstance(data, Clips)  # what is live is
    if data.fingerprint != trained.fingerprint:
        raise InputError(f"{settings.shards} has other data than the run: --live names a folder with the plan of its data")
    sets = load_held_out(data, count)
    if not sets:
        raise InputError(f"{settings.shards} has no clips that training does not see: there is nothing to measure")
    return data.plan, sets


def forget_places(settings: RunSettings, plan: Plan) -> RunSettings:
    """The settings without paths of this machine."""
    initial = settings.init_from and "/".join(Path(settings.init_from).parts[-3:])
    return dataclasses.replace(
        settings, shards=find_benchmark(plan) or Path(settings.shards).name, init_from=initial, logger=None
    )


def find_benchmark(plan: Plan) -> str | None:
    """The name of a benchmark, if this is its plan."""
    return next((name for name, each in BENCHMARKS.items() if each.fingerprint == plan.fingerprint), None)


def describe_run(run: Path, trained: Pretrained) -> dict[str, Any]:
    """What the run's own files say of the training."""
    config = reader.read_config(run)
    seconds = find_seconds(run, trained.step)
    parameters = sum(parameter.numel() for parameter in trained.model.parameters())
    return {"parameters": parameters, "training_seconds": seconds, "versions": config.get("versions", {})}


def find_seconds(run: Path, step: int) -> float:
    """How long the steps of a run took, to one of them. Raises InputError if its tables do not say."""
    rows = [row for row in reader.read_table(run / "metrics.csv") if int(row["step"]) == step]
    if not rows or not rows[-1].get("time"):
        raise InputError(f"{run / 'metrics.csv'} has no time of step {step}: take it from a backup")
    return float(rows[-1]["time"])


def describe_data(settings: RunSettings, plan: Plan) -> dict[str, Any]:
    """The plan in figures, and the commands that make it, if it is that of a benchmark, and train on it."""
    name = find_benchmark(plan)
    spec = plan.spec
    targets = plan.targets[settings.split]
    about: dict[str, Any] = {"benchmark": name, "fingerprint": plan.fingerprint, "patches": int(targets.size)}
    about |= {"voices": [patch_name(patch) for patch in plan.patches.stored[targets[:1]]]}
    about |= {"samples": plan.counts.get(settings.split, 0), "kinds": list(spec.kinds)}
    about |= {"phrases": None if plan.phrases is None else len(plan.phrases.within(settings.split))}
    making = BENCHMARKS[name].list_commands(f"{name}.syx", "plan") if name else []
    commands = [*(["dx7data", *words] for words in making), ["python", "-m", "train", *list_words(settings, "plan")]]
    return {"plan": about, "clip_seconds": settings.seconds or spec.seconds, "commands": commands}


def find_recorded(run: Path, step: int, which: str) -> float | None:
    """The bits of a set that the run has recorded at a step, if it was evaluated there."""
    rows = reader.group_by_set(reader.read_table(run / "validation.csv")).get(which, [])
    bits = [float(row["bits"]) for row in rows if int(row["step"]) == step]
    return bits[-1] if bits else None


if __name__ == "__main__":
    process.run_main("train.release", main)
