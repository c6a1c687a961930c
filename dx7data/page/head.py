"""What our pages have in common: a head that lets nothing in from elsewhere, colours for light and dark, and type."""

import base64
import hashlib
import re
from pathlib import Path
from string import Template

from markupsafe import Markup, escape

_HEAD = Path(__file__).with_suffix(".html")
COLOURS = Path(__file__).with_name("colours.css")


def fill_page(template: Path, title: str, assets: Path | None = None, **parts: object) -> str:
    """The page of a template, after the common head, with each $part escaped unless it is markup.

    $style and $script are the .css and .js files of the template's name, or of that of `assets`, if it has them. The
    Content-Security-Policy allows the <style> and <script> of head and template, by their hashes, and pictures and sounds
    that are in the page itself; nothing else.
    """
    text = _read(_HEAD).replace("$colours", _read(COLOURS)) + _read(template)
    for name, suffix in (("$style", ".css"), ("$script", ".js")):
        if name in text:
            text = text.replace(name, _read((assets or template).with_suffix(suffix)).replace("$", "$$"))
    policy = "default-src 'none'; img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
    for kind in ("style", "script"):
        hashes = map(_hash, re.findall(f"<{kind}>(.*?)</{kind}>", text, re.DOTALL))
        policy += f"; {kind}-src " + (" ".join(hashes) or "'none'")
    return Template(text).substitute(
        {name: escape(part) for name, part in parts.items()}, title=escape(title), policy=policy
    )


def fill(template: Path, **parts: object) -> Markup:
    """A piece of a page, with each $part escaped unless it is markup."""
    return Markup(Template(_read(template)).substitute({name: escape(part) for name, part in parts.items()}))


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.replace('$$', '$').encode()).digest()).decode()}'"
