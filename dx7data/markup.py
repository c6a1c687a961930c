"""HTML and SVG, of which every part is escaped unless it is markup itself; and pages that run no script but their own."""

import base64
import hashlib
import re
from pathlib import Path
from string import Template

from markupsafe import Markup, escape


def html(text: str, /, *parts, **named) -> Markup:
    """`text`, which is written in our own source, with the parts in the places of its {}, as in str.format."""
    return Markup(text).format(*parts, **named)


def join(parts, between: str = "") -> Markup:
    """All parts one after the other, each escaped unless it is markup."""
    return Markup(between).join(parts)


def fill(template: Path, **parts) -> str:
    """The page of a template, with each $part escaped unless it is markup.

    $policy becomes a Content-Security-Policy: its own <style> and <script>, by their hashes, pictures and sounds that are in
    the page itself, and nothing else.
    """
    text = template.read_text(encoding="utf-8")
    policy = "default-src 'none'; img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
    for kind in ("style", "script"):
        hashes = map(_hash, re.findall(f"<{kind}>(.*?)</{kind}>", text, re.DOTALL))
        policy += f"; {kind}-src " + (" ".join(hashes) or "'none'")
    return Template(text).substitute({name: escape(part) for name, part in parts.items()}, policy=policy)


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
