"""`python -m train`: from a folder of shards to a model; its options, and how it ends."""

import argparse
import dataclasses
import os
import sys
from pathlib import Path

from dx7data.errors import InputError, suggest_install

try:
    import torch
except ModuleNotFoundError:
    print(f"train: torch is not installed: `make test` or {suggest_install('train')} installs it", file=sys.stderr)
    raise SystemExit(2) from None

from dx7data.cli.types import number, whole
from dx7data.prefix import CODECS
from dx7data.process import run_main
from models.memory import out_of_memory
from models.registry import LAYERS, MODELS
from train.config import INDIFFERENT, PRECISIONS, PRESETS, RunSettings, make_settings
from train.evaluation.decode import DECODERS
from train.loop import checkpoint, distributed, trainer
from train.loop.optim import Diverged
from train.results import reader
from train.results.writer import red

_FREE = ("shards", "reader", *INDIFFERENT)  # a run that goes on may have others: its data may lie elsewhere


def main(argv: list[str] | None = None) -> int:
    """Train; the exit status: 0, 2 for a person's error, 3 if it diverged, 130 or 143 when a signal stopped it."""
    overrides = vars(parser().parse_args(argv))
    run = trained = None
    try:
        run, chosen = choose_run(overrides)
        if not overrides["resume"] and run.exists() and (not run.is_dir() or any(run.iterdir())):
            raise InputError(f"{run} is there already: go on with it by --resume, or name another folder with --out")
        found = distributed.join(chosen.device)
        trained = trainer.prepare(chosen, run, found)
        stopped = trained.train()
    except KeyboardInterrupt:
        return _exit(f"stopped at once; {_describe_checkpoint(run)}", 130)
    except Diverged as error:
        return _exit(red(str(error), sys.stderr), 3)
    except Exception as error:
        if (text := explain(error, run)) is None:
            raise
        return _exit(text, 2, everyone=trained is not None)
    finally:
        distributed.leave()
    if stopped:
        return _exit(f"stopped; {_describe_checkpoint(run)}", 128 + stopped)
    return 0


def explain(error: Exception, run: Path | None) -> str | None:
    """What to tell a person about an error; None if it is our own."""
    if isinstance(error, InputError):  # from a process that reads it comes with a traceback around it
        return str(error).rpartition("InputError: ")[2].strip()
    if distributed.is_connection_lost(error):
        return f"another process of this run is gone; {_describe_checkpoint(run)}"
    if isinstance(error, ConnectionError) or str(error).startswith("DataLoader worker"):
        return (
            f"a process that reads was killed, mostly because memory was full: lower --workers; {_describe_checkpoint(run)}"
        )
    if out_of_memory(error):
        return (
            "out of memory: raise --grad-accum, for the same batch in more parts, or lower --batch or --seconds; "
            + _describe_checkpoint(run)
        )
    if isinstance(error, OSError):
        return f"{error.filename or run}: {error.strerror or error}; {_describe_checkpoint(run)}"
    return None


def _describe_checkpoint(run: Path | None) -> str:
    """Where it goes on."""
    last = run and checkpoint.find_last(run)
    return f"{last} is whole, and --resume --out {run} goes on from it" if last else "there is no checkpoint yet"


def _exit(text: str, status: int, everyone: bool = False) -> int:
    """everyone: an error of this process; what all processes find, one of them says."""
    if everyone or os.environ.get("RANK", "0") == "0":
        print(f"train: {text}", file=sys.stderr)
    return status


def choose_run(overrides: dict) -> tuple[Path, RunSettings]:
    """Where the run is, and its settings. Raises InputError when the command line contradicts it."""
    overrides = dict(overrides)
    if "live" in overrides:
        if "reader" in overrides:
            raise InputError("--live reads nothing: leave --reader out, or name the folder with --shards")
        overrides |= {"shards": overrides.pop("live"), "reader": "live"}
    elif "shards" in overrides:
        overrides.setdefault("reader", "shards")
    device = overrides.pop("device", "cuda" if torch.cuda.is_available() else "cpu")
    resume, model, out = overrides.pop("resume"), overrides.pop("model", None), overrides.pop("out", None)
    preset = overrides.get("preset", "base" if device == "cuda" else "tiny")
    if model is None and not (resume and out):
        raise InputError(
            f"--model is missing: take one of {', '.join(MODELS)}, or --layers with one or more of "
            f"{', '.join(sorted(LAYERS))}"
        )
    run = out or Path("runs") / f"{model if isinstance(model, str) else '-'.join(model)}-{preset}"
    if not resume:
        if "shards" not in overrides:
            raise InputError(
                "--shards is missing: name a folder that `dx7data render` has written, or with --live one with a plan"
            )
        return run, make_settings(model=model, device=device, **overrides | {"preset": preset})
    stored = RunSettings.from_json(reader.read_config(run)["settings"], run / "config.json")
    if model is not None:
        overrides["model_name"] = model if isinstance(model, str) else "-".join(model)
    exact = "webdataset" not in (stored.reader, overrides.get("reader"))
    for name, value in overrides.items():
        if (name not in _FREE or (name == "reader" and not exact)) and getattr(stored, name) != value:
            option = "--" + name.removesuffix("_name").replace("_", "-")
            raise InputError(
                f"{option} is {_format(getattr(stored, name))} in {run} and {_format(value)} here: "
                "leave it out, or start another run"
            )
    return run, dataclasses.replace(stored, device=device, **{name: overrides[name] for name in _FREE if name in overrides})


def _format(value) -> str:
    return "none" if value is None else str(value)


def parser() -> argparse.ArgumentParser:
    """All options. One that isn't given is not in the result: a preset, or the run that is resumed, has its value."""
    top = argparse.ArgumentParser(
        prog="python -m train",
        description="Train a model on a folder of shards.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    where = top.add_mutually_exclusive_group()
    where.add_argument("--shards", metavar="FOLDER", help="what `dx7data render` has written, or a URL of it")
    where.add_argument(
        "--live", metavar="FOLDER", help="instead, render as training goes, on its GPU: the plan in the folder is enough"
    )
    which = top.add_mutually_exclusive_group()
    which.add_argument("--model", choices=MODELS, help="what is trained")
    which.add_argument(
        "--layers", dest="model", type=_parse_layers, metavar="A,B", help="these layers in turn, as in s4d,mamba2"
    )
    top.add_argument("--preset", choices=PRESETS, help="of all options below (default: base with a GPU, tiny without one)")
    top.add_argument("--out", type=Path, metavar="FOLDER", help="the run (default: runs/MODEL-PRESET)")
    top.add_argument("--resume", action="store_true", default=False, help="go on with the run, with its own options")
    top.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda if there is one")

    data = top.add_argument_group("data")
    data.add_argument("--split", choices=("train", "val", "test"), help="to train on (default: train)")
    data.add_argument(
        "--reader",
        choices=("shards", "webdataset"),
        help="webdataset: --shards is any address that it reads; no evaluation, no exact resume",
    )
    data.add_argument("--skip-missing", action="store_true", help="do without shards that are not there, and say how many")
    data.add_argument(
        "--prefix", type=_parse_codec, metavar="none|" + "|".join(sorted(CODECS)), help="what gives the patch to the model"
    )
    data.add_argument("--sample-rate", type=whole(1), metavar="HZ", help="that of the shards, or a part of it")
    data.add_argument(
        "--seconds", type=number(0.01, 600, "seconds"), help="of a crop (default: of the preset, or whole clips)"
    )
    data.add_argument("--workers", type=whole(0), metavar="N", help="processes that read")

    steps = top.add_argument_group("training")
    steps.add_argument("--steps", type=whole(1), metavar="N")
    steps.add_argument("--batch", type=whole(1), metavar="N", help="clips of a step, over all processes")
    steps.add_argument("--grad-accum", type=whole(1), metavar="N", help="compute a batch in N parts, to save memory")
    steps.add_argument("--lr", type=number(1e-9, 1000), help="the highest learning rate")
    steps.add_argument("--warmup", type=number(0, 1), metavar="PART", help="of the steps, in which the rate rises")
    steps.add_argument("--weight-decay", type=number(0, 10))
    steps.add_argument("--precision", choices=PRECISIONS, help="bf16: autocast, with states in fp32")
    steps.add_argument("--compile", action="store_true", help="by torch.compile")
    steps.add_argument("--seed", type=whole(0, 2**63 - 1), metavar="N", help="of weights and of the order of data")
    steps.add_argument("--evaluate-every", type=whole(1), metavar="N", help="steps")
    steps.add_argument("--evaluate-samples", type=whole(1), metavar="N", help="of each set (default: 1024 on a GPU)")
    steps.add_argument("--decode", choices=DECODERS, help="what evaluation listens to (default: mean)")
    steps.add_argument("--checkpoint-every", type=whole(1), metavar="N", help="steps")
    return top


def _parse_codec(text: str) -> str | None:
    if text not in ("none", *CODECS):
        raise argparse.ArgumentTypeError(f"must be none or one of {', '.join(sorted(CODECS))}")
    return None if text == "none" else text


def _parse_layers(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


if __name__ == "__main__":
    run_main("train", main)
