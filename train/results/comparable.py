"""Are runs comparable: the same task and as many tokens for all? And what else is not the same."""

from markupsafe import Markup

from dx7data.markup import html, join
from train.results.reader import Run

# What must be the same, or the bits of two runs are not those of one task: where it is recorded, and how it is called.
CONDITIONS = {
    "tokens": "tokens seen",
    "fingerprint": "fingerprint of the clips",
    "split": "split",
    "prefix": "prefix",
    "sample_rate": "sample rate (Hz)",
    "seconds": "crop (s)",
    "batch": "batch",
    "evaluate_samples": "validation samples",
}
UNKNOWN = "not recorded"


def differences(runs: list[Run]) -> dict[str, dict[str, list[str]]]:
    """What is not the same in all runs: where it is recorded, each value, and who has it; conditions come first."""
    found = {}
    for fact in dict.fromkeys([*CONDITIONS, *(fact for run in runs for fact in run.facts)]):
        have: dict[str, list[str]] = {}
        for run in runs:
            have.setdefault(run.facts.get(fact, UNKNOWN), []).append(run.name)
        if len(have) > 1 or (fact in CONDITIONS and UNKNOWN in have):
            found[fact] = have
    return found


def find_broken(runs: list[Run]) -> dict[str, dict[str, list[str]]]:
    """Of the differences those for which runs are not comparable."""
    return {fact: have for fact, have in differences(runs).items() if fact in CONDITIONS}


def share_unseen(runs: list[Run]) -> bool:
    """Whether runs on other training patches are comparable on the unseen ones, which are the same, as is all else."""
    unseen = {run.facts.get("unseen_fingerprint", UNKNOWN) for run in runs}
    return list(find_broken(runs)) == ["fingerprint"] and len(unseen) == 1 and UNKNOWN not in unseen


def verdict(runs: list[Run]) -> Markup:
    """A checked statement: the same task and as many tokens for all, or what differs, by name and value."""
    found = differences(runs)
    broken = find_broken(runs)
    others = {fact: have for fact, have in found.items() if fact not in CONDITIONS}
    same = {fact: runs[0].facts[fact] for fact in CONDITIONS if fact not in found}
    if share_unseen(runs):
        equal = "runs have seen equally many tokens, but of other data; the unseen patches are the same."
        said = html("<b>Comparable on unseen patches alone.</b> All {} {}", len(runs), equal)
    elif broken:
        differ = ", ".join(CONDITIONS[fact] for fact in broken)
        said = html("<b>Not comparable as they are.</b> These differ: {}.", differ)
    elif len(runs) > 1:
        equal = "runs have seen equally many tokens of the same data, in the same form."
        said = html("<b>Comparable.</b> All {} {}", len(runs), equal)
    else:
        said = html("One run: there is nothing to compare it with.")
    more = html("<details><summary>All else that differs: {}</summary>{}</details>", len(others), _list_values(others))
    return html(
        '<p class="verdict{}">{}</p>{}<dl class="facts">{}</dl>{}',
        " broken" * bool(broken),
        said,
        _list_values(broken),
        join(html("<div><dt>{}</dt><dd>{}</dd></div>", CONDITIONS[fact], _format(value)) for fact, value in same.items()),
        more if others else "",
    )


def _list_values(found: dict[str, dict[str, list[str]]]) -> Markup | str:
    rows = []
    for fact, have in found.items():
        known = {value: names for value, names in have.items() if value != UNKNOWN or fact in CONDITIONS}
        who = join(html("<dd><code>{}</code> {}</dd>", _format(value), ", ".join(names)) for value, names in known.items())
        rows.append(html("<div><dt>{}</dt>{}</div>", CONDITIONS.get(fact, fact), who))
    return html('<dl class="differences">{}</dl>', join(rows)) if rows else ""


def _format(value: str) -> str:
    if len(value) == 64:  # a fingerprint, which may have no letters
        return value[:12]
    return f"{int(value):,}" if value.isdecimal() else value
