"""SVG as text, for our pages: colours and line widths are the page's, by class."""

from collections.abc import Iterable

from markupsafe import Markup

from dx7data.markup import html


def make_svg(
    content: Markup,
    box: tuple[float, float, float, float],
    kind: str = "",
    label: str = "",
    stretch: bool = False,
    more: Markup | None = None,
) -> Markup:
    """A drawing. box: left, top, width and height of what is shown; kind: its class; label: the drawing in words, without
    which it is hidden from those who can't see it; stretch: to whatever size it gets; more: attributes."""
    return html(
        '<svg {}{} viewBox="{}"{}{}>{}</svg>',
        html('class="{}" ', kind) if kind else "",
        html('role="img" aria-label="{}"', label) if label else html('aria-hidden="true"'),
        " ".join(f"{number:g}" for number in box),
        html(' preserveAspectRatio="none"') if stretch else "",
        html(" {}", more) if more else "",
        content,
    )


def join_points(x: Iterable[float], y: Iterable[float], form: str = ".1f") -> str:
    """Points with straight lines between them, for a path; form: how their numbers are written."""
    return "L".join(f"{a:{form}} {b:{form}}" for a, b in zip(x, y, strict=True))
