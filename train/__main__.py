"""`python -m train`: from a folder of shards to a model; its options, and how it ends."""

import sys
import time
from pathlib import Path

from dx7data.errors import Ending, InputError, suggest_install
from dx7data.output import format_count
from dx7data.workers import preload

try:
    import torch  # noqa: F401  (here, so that its absence is one sentence)
except ModuleNotFoundError:
    print(f"train: torch is not installed: `make test` or {suggest_install('train')} installs it", file=sys.stderr)
    raise SystemExit(2) from None

from dx7data import output, process
from models.memory import out_of_memory
from train import arguments
from train.loop import checkpoint, distributed, mirror, trainer
from train.loop.optim import Diverged

# Seconds. An error that all processes have is reported by the first one, and torchrun ends the others meanwhile; a process
# that still runs after this time reports its own.
_OTHERS_SPEAK_AFTER = 3.0


def main(argv: list[str] | None = None) -> int:
    """Train; the exit status: 0, 2 for a person's error, 3 if it diverged, 130 or 143 when a signal stopped it."""
    return process.run("train", lambda: train(sys.argv[1:] if argv is None else argv))


def train(argv: list[str]) -> int:
    """The exit status. Raises Ending, in other processes than the first only for an error of their own."""
    run = trained = place = None
    try:
        given = arguments.read(argv)
        output.configure(given)
        place = mirror.open_run(given["out"], given["resume"]) if "://" in str(given.get("out")) else None
        if place:
            given["out"] = place.run
        run, chosen = arguments.choose_run(given)
        if not given["resume"] and run.exists() and (not run.is_dir() or any(run.iterdir())):
            raise InputError(f"{run} is there already: continue it with --resume, or name another folder with --out")
        if chosen.reader == "live" and chosen.workers:
            preload("train.loop.trainer", "train.data.live")  # seconds, which their processes would take one after another
        found = distributed.join(chosen.device)
        trained = trainer.prepare(chosen, run, found, place)
        try:
            stopped = trained.train()
        except BaseException:
            if place and place.is_ours:
                place.try_push(f"all of it is in {place.run}")
            raise
        if place:
            place.push()
    except KeyboardInterrupt:
        return _end(f"stopped at once; {_describe_checkpoint(run)}", 130, place)
    except Diverged as error:
        return _end(str(error), error.status, place)
    except Exception as error:
        if (text := explain(error, run)) is None:
            raise
        if trained is None and not distributed.is_first():
            time.sleep(_OTHERS_SPEAK_AFTER)
        return _end(text, InputError.status, place, everyone=True)
    finally:
        distributed.leave()
    if stopped:
        return _end(f"stopped; {_describe_checkpoint(run)}", 128 + stopped, place)
    if trained.result:
        output.print_result({"run": str(place.store if place else run), **trained.result}, _describe)
    return 0


def _describe(found: dict) -> list[str]:
    return [f"{found['run']}: {format_count(found['steps'], 'step')} done; pictures are in {found['run']}/pictures"]


def explain(error: Exception, run: Path | None) -> str | None:
    """What to tell a person about an error; None if it is our own."""
    if isinstance(error, InputError):  # from a process that reads it comes with a traceback around it
        return str(error).rpartition("InputError: ")[2].strip()
    if distributed.is_connection_lost(error):
        return f"another process of this run is gone; {_describe_checkpoint(run)}"
    if str(error).startswith("out of resource"):  # of Triton: memory on the chip
        return (
            f"this GPU is too small for a kernel ({error}): --precision fp32 works without it; {_describe_checkpoint(run)}"
        )
    if "shared memory" in str(error) or "</torch_" in str(error):  # torch's two ways to say so
        return f"/dev/shm is full: enlarge it, or take --workers 0, which needs none; {_describe_checkpoint(run)}"
    if isinstance(error, ConnectionError | EOFError) or str(error).startswith("DataLoader worker"):
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
    if not last:
        return "there is no checkpoint yet"
    return f"{last} is complete; to continue: {distributed.write_command('--resume', '--out', run)}"


def _end(text: str, status: int, place: mirror.Mirror | None, everyone: bool = False) -> int:
    """place: the run is at a URL. everyone: an error of this process; what all processes find, the first one says."""
    if place:
        text = text.replace(str(place.run), str(place.store))
    if everyone or distributed.is_first():
        raise Ending(text, status) from None
    return status


if __name__ == "__main__":
    process.run_main("train", main)
