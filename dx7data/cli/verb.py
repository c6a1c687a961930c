"""How a verb comes to the command line: each is a file with the functions `add_to` and `run`; main.py lists them.

Imports that take time are inside the functions that run: `dx7data --help` answers at once.
"""

from argparse import ArgumentParser, Namespace, _ActionsContainer, _SubParsersAction
from collections.abc import Callable
from typing import Any, NoReturn

from dx7data.cli.types import explain_empty, explain_unknown
from dx7data.output import add_options

Verbs = _SubParsersAction  # what add_subparsers of argparse gives
Options = _ActionsContainer  # a parser, or a group of its options


class Parser(ArgumentParser):
    """Whatever is wrong is one sentence, without the usage before it: that of `render` has 25 lines."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message.removeprefix('argument ')}\n")

    def parse_known_args(self, *args: Any) -> tuple[Any, list[str]]:  # type: ignore[override]  # of argparse's overloads
        """As the parser of a verb, too, which knows the names that are near an unknown one."""
        if nothing := explain_empty(args[0]):
            self.error(nothing)
        options, unknown = super().parse_known_args(*args)
        if unknown:
            self.error(explain_unknown(unknown[0], self._option_string_actions, self.prog))
        return options, unknown


def add_verbs(parser: ArgumentParser) -> Verbs:
    """Verbs of a program, or of one of its verbs; without one, its help is printed."""

    def print_help(_: Namespace) -> None:
        parser.print_help()

    parser.set_defaults(run=print_help, stopped="stopped")
    return parser.add_subparsers(title="verbs", metavar="VERB")


def add_long_verb(verbs: Verbs, name: str, run: Callable[[Namespace], int | None], text: str) -> ArgumentParser:
    """As add_verb, for what goes on where it was stopped."""
    parser = add_verb(verbs, name, run, text)
    parser.set_defaults(stopped="stopped; what is complete is kept, and the same command continues from there")
    return parser


def add_verb(verbs: Verbs, name: str, run: Callable[[Namespace], int | None], text: str) -> ArgumentParser:
    """A parser for the options of a verb, which `run` is called with."""
    parser: ArgumentParser = verbs.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False
    )
    add_options(parser)
    parser.set_defaults(run=run, stopped="stopped")
    return parser
