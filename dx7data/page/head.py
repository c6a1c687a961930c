"""What our pages have in common: a head that lets nothing in from elsewhere, colours for light and dark, and type."""

from html import escape
from pathlib import Path
from string import Template

_HEAD = Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))


def make_head(title: str, scripts: bool = False) -> str:
    """The document down to the common style; scripts: those in the page itself are run."""
    return _HEAD.substitute(title=escape(title), scripts="; script-src 'unsafe-inline'" if scripts else "")
