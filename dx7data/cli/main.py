"""The command line: `dx7data VERB` and its options; one file a verb, listed here."""

import argparse
import sys
from argparse import Namespace
from typing import Any

from dx7data.cli import bench, extend, inspect, patches, plan, play, publish, render, verify, wav
from dx7data.cli.verb import Parser, add_verbs
from dx7data.output import configure
from dx7data.process import run

_VERBS = (render, plan, extend, inspect, verify, publish, bench, patches, wav, play)


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 when `verify` finds damage, 2 for a person's error, 130 for Ctrl-C."""
    argv = sys.argv[1:] if argv is None else argv
    options: Namespace = make_parser().parse_args(argv)
    options.argv = argv
    configure(vars(options))
    return run("dx7data", lambda: options.run(options), options.stopped)


def make_parser() -> argparse.ArgumentParser:
    """All verbs and their options."""
    top = Parser(
        prog="dx7data", description="Render Yamaha DX7 patches into data sets for audio models.", allow_abbrev=False
    )
    top.add_argument("--version", action=_Version, nargs=0, default=argparse.SUPPRESS, help="print the version")
    top.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        choices=("bash", "zsh", "tcsh"),
        default=argparse.SUPPRESS,
        help="print a script that completes verbs, options and files in a shell: source <(dx7data --print-completion bash)",
    )
    verbs = add_verbs(top)
    for verb in _VERBS:
        verb.add_to(verbs)
    return top


class _Version(argparse.Action):
    """Looked up only when it is asked for: that takes longer than to show the help."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        import dx7data

        print(f"dx7data {dx7data.__version__}")
        parser.exit()


class _PrintCompletion(argparse.Action):
    """What makes the script is imported only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, _: Any, shell: Any, __: Any = None) -> None:
        from dx7data.cli import completion

        print(completion.make_script(parser, shell))
        parser.exit()
