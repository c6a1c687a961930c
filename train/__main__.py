"""`python -m train`: from a folder of shards to a model; its options, and how it ends."""

import argparse
import dataclasses
import os
import sys
from pathlib import Path

try:
    import torch
except ModuleNotFoundError:
    print("train: torch is not installed: `make test` or pip install -e '.[train]' installs it", file=sys.stderr)
    raise SystemExit(2) from None

from dx7data.cli.types import number, whole
from dx7data.errors import InputError
from dx7data.prefix import CODECS
from dx7data.process import run_main
from models.memory import out_of_memory
from models.registry import LAYERS, MODELS
from train.config import INDIFFERENT, PRECISIONS, PRESETS, RunSettings, settings
from train.evaluation.decode import DECODERS
from train.loop import checkpoint, distributed, trainer
from train.loop.optim import Diverged
from train.results import reader
from train.results.writer import red

_FREE = ("shards", "reader", *INDIFFERENT)  # a run that goes on may have others: its data may lie elsewhere


def main(words: list[str] | None = None) -> int:
    """Train; the exit status: 0, 2 for a person's error, 3 if it diverged, 130 or 143 when a signal stopped it."""
    wishes = vars(parser().parse_args(words))
    run = prepared = None
    try:
        run, chosen = chosen_run(wishes)
        if not wishes["resume"] and run.exists() and (not run.is_dir() or any(run.iterdir())):
            raise InputError(f"{run} is there already: go on with it by --resume, or name another folder with --out")
        found = distributed.join(chosen.device)
        prepared = trainer.prepared(chosen, run, found)
        stopped = prepared.train()
    except KeyboardInterrupt:
        return _end(f"stopped at once; {_kept(run)}", 130)
    except Diverged as error:
        return _end(red(str(error), sys.stderr), 3)
    except Exception as error:
        if (text := sentence(error, run)) is None:
            raise
        return _end(text, 2, everyone=prepared is not None)
    finally:
        distributed.leave()
    if stopped:
        return _end(f"stopped; {_kept(run)}", 128 + stopped)
    return 0


def sentence(error: Exception, run: Path | None) -> str | None:
    """What to tell a person about an error; None if it is our own."""
    if isinstance(error, InputError):  # from a process that reads it comes with a traceback around it
        return str(error).rpartition("InputError: ")[2].strip()
    if distributed.lost(error):
        return f"another process of this run is gone; {_kept(run)}"
    if isinstance(error, ConnectionError) or str(error).startswith("DataLoader worker"):
        return f"a process that reads was killed, mostly because memory was full: lower --workers; {_kept(run)}"
    if out_of_memory(error):
        return (
            "out of memory: raise --accumulation, for the same batch in more parts, or lower --batch or --seconds; "
            + _kept(run)
        )
    if isinstance(error, OSError):
        return f"{error.filename or run}: {error.strerror or error}; {_kept(run)}"
    return None


def _kept(run: Path | None) -> str:
    """Where it goes on."""
    last = run and checkpoint.last(run)
    return f"{last} is whole, and --resume --out {run} goes on from it" if last else "there is no checkpoint yet"


def _end(text: str, status: int, everyone: bool = False) -> int:
    """everyone: an error of this process; what all processes find, one of them says."""
    if everyone or os.environ.get("RANK", "0") == "0":
        print(f"train: {text}", file=sys.stderr)
    return status


def chosen_run(wishes: dict) -> tuple[Path, RunSettings]:
    """Where the run is, and its settings. Raises InputError when the words on the command line contradict it."""
    wishes = dict(wishes)
    if "live" in wishes:
        if "reader" in wishes:
            raise InputError("--live reads nothing: leave --reader out, or name the folder with --shards")
        wishes |= {"shards": wishes.pop("live"), "reader": "live"}
    elif "shards" in wishes:
        wishes.setdefault("reader", "shards")
    device = wishes.pop("device", "cuda" if torch.cuda.is_available() else "cpu")
    resume, model, out = wishes.pop("resume"), wishes.pop("model", None), wishes.pop("out", None)
    preset = wishes.get("preset", "base" if device == "cuda" else "tiny")
    if model is None and not (resume and out):
        raise InputError(
            f"--model is missing: take one of {', '.join(MODELS)}, or --layers with one or more of "
            f"{', '.join(sorted(LAYERS))}"
        )
    run = out or Path("runs") / f"{model if isinstance(model, str) else '-'.join(model)}-{preset}"
    if not resume:
        if "shards" not in wishes:
            raise InputError(
                "--shards is missing: name a folder that `dx7data render` has written, or with --live one with a plan"
            )
        return run, settings(model=model, device=device, **wishes | {"preset": preset})
    stored = RunSettings.from_json(reader.config(run).get("settings", {}))
    if model is not None:
        wishes["model_name"] = model if isinstance(model, str) else "-".join(model)
    exact = "webdataset" not in (stored.reader, wishes.get("reader"))
    for name, value in wishes.items():
        if (name not in _FREE or (name == "reader" and not exact)) and getattr(stored, name) != value:
            option = "--" + name.removesuffix("_name").replace("_", "-")
            raise InputError(
                f"{option} is {_shown(getattr(stored, name))} in {run} and {_shown(value)} here: "
                "leave it out, or start another run"
            )
    return run, dataclasses.replace(stored, device=device, **{name: wishes[name] for name in _FREE if name in wishes})


def _shown(value) -> str:
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
    which.add_argument("--layers", dest="model", type=_layers, metavar="A,B", help="these layers in turn, as in s4d,mamba2")
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
        "--prefix", type=_codec, metavar="none|" + "|".join(sorted(CODECS)), help="what tells the model the patch"
    )
    data.add_argument("--sample-rate", type=whole(1), metavar="HZ", help="that of the shards, or a part of it")
    data.add_argument(
        "--seconds", type=number(0.01, 600, "seconds"), help="of a crop (default: of the preset, or whole clips)"
    )
    data.add_argument("--workers", type=whole(0), metavar="N", help="processes that read")

    steps = top.add_argument_group("training")
    steps.add_argument("--steps", type=whole(1), metavar="N")
    steps.add_argument("--batch", type=whole(1), metavar="N", help="clips of a step, over all processes")
    steps.add_argument("--accumulation", type=whole(1), metavar="N", help="compute a batch in N parts, to save memory")
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


def _codec(text: str) -> str | None:
    if text not in ("none", *CODECS):
        raise argparse.ArgumentTypeError(f"must be none or one of {', '.join(sorted(CODECS))}")
    return None if text == "none" else text


def _layers(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


if __name__ == "__main__":
    run_main("train", main)
