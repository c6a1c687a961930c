"""A script with which a shell completes verbs, options, choices and the names of files."""

from argparse import Action, ArgumentParser, _SubParsersAction
from collections.abc import Iterator

import shtab

from dx7data.cli import types


def make_script(parser: ArgumentParser, shell: str) -> str:
    """For `bash`, `zsh` or `tcsh`."""
    for action in _walk(parser):
        if action.type in (types.path, types.folder) or action.metavar in ("PATH", "FILE:INDEX"):
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # where shtab looks for it
    return shtab.complete(parser, shell)


def _walk(parser: ArgumentParser) -> Iterator[Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, _SubParsersAction):
            for verb in action.choices.values():
                yield from _walk(verb)
