"""How a verb comes to the command line: each is a file with the functions `add_to` and `run`; main.py lists them.

Imports that take time are inside the functions that run: `dx7data --help` answers at once.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Any


def add_verb(verbs: Any, name: str, run: Callable[[Namespace], int | None], text: str) -> ArgumentParser:
    """A parser for the options of a verb, which `run` is called with; verbs: what add_subparsers of argparse gives."""
    parser: ArgumentParser = verbs.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False
    )
    parser.set_defaults(run=run, stopped="stopped; what is whole is kept, and the same command goes on from there")
    return parser
