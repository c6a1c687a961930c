"""The command line: arguments become calls."""

from dx7data.cli.main import main, make_parser

__all__ = ["main", "make_parser"]
