"""HTML and SVG, of which every part is escaped unless it is markup itself."""

from collections.abc import Iterable
from typing import Any

from markupsafe import Markup


def html(text: str, /, *parts: object, **named: object) -> Markup:
    """`text`, which is written in our own source, with the parts in the places of its {}, as in str.format."""
    return Markup(text).format(*parts, **named)


def join(parts: Iterable[Any], between: str = "") -> Markup:
    """All parts one after the other, each escaped unless it is markup."""
    return Markup(between).join(parts)
