"""SVG as text, for our pages: colours and line widths are the page's, by class."""

from collections.abc import Iterable
from html import escape


def make_svg(
    content: str,
    box: tuple[float, float, float, float],
    kind: str = "",
    label: str = "",
    stretch: bool = False,
    more: str = "",
) -> str:
    """A drawing. box: left, top, width and height of what is shown; kind: its class; label: the drawing in words, without
    which it is hidden from those who can't see it; stretch: to whatever size it gets; more: attributes as text."""
    return (
        "<svg "
        + f'class="{kind}" ' * bool(kind)
        + (f'role="img" aria-label="{escape(label)}"' if label else 'aria-hidden="true"')
        + f' viewBox="{" ".join(f"{number:g}" for number in box)}"'
        + ' preserveAspectRatio="none"' * stretch
        + f"{more and ' ' + more}>{content}</svg>"
    )


def join_points(x: Iterable[float], y: Iterable[float], form: str = ".1f") -> str:
    """Points with straight lines between them, for a path; form: how their numbers are written."""
    return "L".join(f"{a:{form}} {b:{form}}" for a, b in zip(x, y, strict=True))
