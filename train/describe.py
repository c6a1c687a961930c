"""`python -m train.describe`: what the model of a run takes, as JSON, for programs that convert with it."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from dx7data import process
from dx7data.output import print_result
from dx7data.process import run_main
from train.loop.mirror import read_run
from train.options import parse, setting
from train.releases.reader import load_one


@dataclass(frozen=True)
class DescribeOptions:
    """Whose model."""

    checkpoint: Path | None = setting(None, "a run, or one of its checkpoints", metavar="FOLDER", kwargs={"type": read_run})
    pretrained: str | None = setting(
        None, "instead of --checkpoint: a model of the folder releases/, or one in ./FOLDER", metavar="NAME"
    )


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 0, 2 for a person's error, 130 for Ctrl-C."""

    def read_and_describe() -> None:
        what = "Prints what a model takes: its sample rate, the codec of its prefix, how many patches that has."
        describe(parse(DescribeOptions, sys.argv[1:] if argv is None else argv, "train.describe", what))

    return process.run("train.describe", read_and_describe)


def describe(options: DescribeOptions) -> None:
    """Print it. Raises InputError for a checkpoint that train.convert would refuse."""
    model = load_one(options.checkpoint, options.pretrained)
    found = {"sample_rate": model.settings.sample_rate, "prefix": model.settings.prefix, "patches": model.layers}
    print_result(found, lambda found: [json.dumps(found)])


if __name__ == "__main__":
    run_main("train.describe", main)
