"""The command line: words become calls."""

from dx7data.cli.command_line import main, parser

__all__ = ["main", "parser"]
