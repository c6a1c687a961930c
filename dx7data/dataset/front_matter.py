"""The YAML at the head of a data-set card, from which the Hub and `datasets` know what the files of a folder are."""

import json

from dx7data.errors import make_printable
from dx7data.plan.plan import Plan

DEFAULT_TITLE = "A DX7 voice-conversion data set"
# Identifiers of the Hub; another licence is written as `other`, with its name.
_LICENCES = {
    *("agpl-3.0", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "gpl-3.0", "lgpl-3.0", "mit", "mpl-2.0", "unlicense"),
    *("cc0-1.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-3.0", "cc-by-nc-4.0"),
    *("cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"),
    *("cdla-permissive-1.0", "cdla-permissive-2.0", "cdla-sharing-1.0", "odbl", "odc-by", "pddl"),
}
_SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B")  # a plan has up to 3 billion samples
_SPLIT_NAMES = {"val": "validation"}  # what `datasets` calls them


def format_front_matter(plan: Plan) -> str:
    """The YAML block of a plan's card, with its marks."""
    lines = ["---", f"pretty_name: {_quote(plan.title or DEFAULT_TITLE)}", *_list_licence(plan.license)]
    lines += [
        "task_categories: [audio-to-audio]",
        "tags: [audio, music, synthesizer, dx7, fm, webdataset]",
        format_size(plan),
        "configs:",
        "- config_name: default",
        "  data_files:",
    ]
    lines += [f'  - {{split: {_SPLIT_NAMES.get(split, split)}, path: "{split}-*.tar"}}' for split in plan.counts]
    return "\n".join([*lines, "---", ""])


def format_size(plan: Plan) -> str:
    """The line of the Hub's size category, by the number of samples."""
    place = max(len(str(len(plan))) - 3, 0)
    size = f"{_SIZES[place - 1]}<n<{_SIZES[place]}" if place else f"n<{_SIZES[0]}"
    return f"size_categories: [{size}]"


def _list_licence(name: str | None) -> list[str]:
    if not name:
        return ["license: unknown"]
    if name.lower() in _LICENCES:
        return [f"license: {name.lower()}"]
    return ["license: other", f"license_name: {_quote(name)}"]


def _quote(text: str) -> str:
    """A text as YAML, which takes a string of JSON; control characters become visible, for YAML allows none of them."""
    return json.dumps(make_printable(text), ensure_ascii=False)
