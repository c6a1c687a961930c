"""Markup is written in our own source; whatever comes from elsewhere is escaped. And no page of ours does without that."""

import ast
import base64
import hashlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dx7data.markup import html, join
from dx7data.page.head import fill_page

ROOT = Path(__file__).resolve().parents[1]
PAGES = [path for path in (ROOT / "dx7data" / "page").glob("*.py") if path.stem != "head"]
PAGES += [
    ROOT / "dx7data" / "audio" / "player.py",
    ROOT / "dx7data" / "svg.py",
    ROOT / "train" / "compare.py",
    *(ROOT / "train" / "results").glob("*.py"),
]


@given(st.text(), st.text())
def test_parts_are_escaped_once(one, other):
    made = join([html('<b title="{}">{}</b>', one, other), one])
    for text in (str(made), str(join([made])), str(html("{}", made))):
        assert text.count("<") == 2
        assert text.count('"') == 2
        assert "&amp;lt;" not in text or "&lt;" in one + other


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_no_markup_is_made_otherwise(path):
    """No f-string has a tag, and what `html` gets is written there, not put together."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            text = "".join(part.value for part in node.values if isinstance(part, ast.Constant))
            assert not re.search("<[a-z/]", text), text
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("html", "Markup"):
            assert isinstance(node.args[0], ast.Constant | ast.Name), ast.unparse(node.args[0])


def test_a_page_allows_its_own_script_alone(tmp_path):
    (tmp_path / "page.html").write_text("<script>\nlet a = 1;\n</script><p>$text</p>")
    page = fill_page(tmp_path / "page.html", "<title>", text="<script>bad()</script>")
    digest = base64.b64encode(hashlib.sha256(b"\nlet a = 1;\n").digest()).decode()
    assert f"script-src 'sha256-{digest}'\"" in page
    assert "default-src 'none'" in page
    assert page.count("<script>") == 1
    assert "&lt;title&gt; · dx7data" in page


def test_style_and_script_are_files_beside_the_template(tmp_path):
    (tmp_path / "page.html").write_text("<style>\n$style</style><p>$text</p><script>\n$script</script>")
    (tmp_path / "page.css").write_text("p { color: red; }\n")
    (tmp_path / "page.js").write_text("const a = `${1} $text`;\n")
    page = fill_page(tmp_path / "page.html", "title", text="shown")
    assert "<p>shown</p><script>\nconst a = `${1} $text`;\n</script>" in page
    assert "<style>\np { color: red; }\n</style>" in page
    for content in (b"\np { color: red; }\n", b"\nconst a = `${1} $text`;\n"):
        assert base64.b64encode(hashlib.sha256(content).digest()).decode() in page.partition("<style>")[0]
