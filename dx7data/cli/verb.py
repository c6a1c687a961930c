"""How a verb comes to the command line: each is a file with the functions `add_to` and `run`; main.py lists them.

Imports that take time are inside the functions that run: `dx7data --help` answers at once.
"""

from argparse import ArgumentParser, Namespace, _ActionsContainer, _SubParsersAction
from collections.abc import Callable

from dx7data.output import add_options

Verbs = _SubParsersAction  # what add_subparsers of argparse gives
Options = _ActionsContainer  # a parser, or a group of its options


def add_verbs(parser: ArgumentParser) -> Verbs:
    """Verbs of a program, or of one of its verbs; without one, its help is printed."""

    def print_help(_: Namespace) -> None:
        parser.print_help()

    parser.set_defaults(run=print_help, stopped="stopped")
    return parser.add_subparsers(title="verbs", metavar="VERB")


def add_verb(verbs: Verbs, name: str, run: Callable[[Namespace], int | None], text: str) -> ArgumentParser:
    """A parser for the options of a verb, which `run` is called with."""
    parser: ArgumentParser = verbs.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False
    )
    add_options(parser)
    parser.set_defaults(run=run, stopped="stopped; what is whole is kept, and the same command goes on from there")
    return parser
