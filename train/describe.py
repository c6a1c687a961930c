"""`python -m train.describe`: what the model of a run takes, as JSON, for programs that convert with it."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from dx7data import process
from dx7data.output import print_result
from dx7data.process import run_main
from train.loop.checkpoint_reader import load_model
from train.loop.mirror import read_run
from train.options import parse, setting


@dataclass(frozen=True)
class DescribeOptions:
    """Whose model."""

    checkpoint: Path = setting(help="a run, or one of its checkpoints", metavar="FOLDER", kwargs={"type": read_run})


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 0, 2 for a person's error, 130 for Ctrl-C."""

    def read_and_describe() -> None:
        what = "Prints what a model takes: its sample rate, the codec of its prefix, how many patches that has."
        describe(parse(DescribeOptions, sys.argv[1:] if argv is None else argv, "train.describe", what))

    return process.run("train.describe", read_and_describe)


def describe(options: DescribeOptions) -> None:
    """Print it. Raises InputError for a checkpoint that train.convert would refuse."""
    _, settings, meta = load_model(options.checkpoint)
    found = {"sample_rate": settings.sample_rate, "prefix": settings.prefix, "patches": meta["layers"]}
    print_result(found, lambda found: [json.dumps(found)])


if __name__ == "__main__":
    run_main("train.describe", main)
