"""Markup. In HTML and SVG every part is escaped unless it is markup itself, in Markdown what is asked for."""

import re
from collections.abc import Iterable
from typing import Any

from markupsafe import Markup

from dx7data.errors import make_printable


def html(text: str, /, *parts: object, **named: object) -> Markup:
    """`text`, which is written in our own source, with the parts in the places of its {}, as in str.format."""
    return Markup(text).format(*parts, **named)


def join(parts: Iterable[Any], between: str = "") -> Markup:
    """All parts one after the other, each escaped unless it is markup."""
    return Markup(between).join(parts)


def escape_markdown(name: str) -> str:
    """A name as text, whatever of it Markdown would take for something else."""
    return re.sub(r"([\\`*_<>&|#\[\]])", r"\\\1", make_printable(name))
