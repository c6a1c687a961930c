"""Are runs comparable: the same task and as many tokens for all? And what else is not the same."""

from html import escape

from train.results.reader import Run

# What must be the same, or the bits of two runs are not those of one task: where it is recorded, and how it is called.
CONDITIONS = {
    "tokens": "tokens seen",
    "fingerprint": "data fingerprint",
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


def verdict(runs: list[Run]) -> str:
    """A checked statement: the same task and as many tokens for all, or what differs, by name and value."""
    found = differences(runs)
    broken = {fact: have for fact, have in found.items() if fact in CONDITIONS}
    others = {fact: have for fact, have in found.items() if fact not in CONDITIONS}
    same = {fact: runs[0].facts[fact] for fact in CONDITIONS if fact not in found}
    if broken:
        said = f"<b>Not comparable as they are.</b> These differ: {', '.join(CONDITIONS[fact] for fact in broken)}."
    elif len(runs) > 1:
        said = f"<b>Comparable.</b> All {len(runs)} runs have seen equally many tokens of the same data, in the same form."
    else:
        said = "One run: there is nothing to compare it with."
    facts = "".join(f"<div><dt>{CONDITIONS[fact]}</dt><dd>{_format(value)}</dd></div>" for fact, value in same.items())
    more = (
        f"<details><summary>All else that differs: {len(others)}</summary>{_list_values(others)}</details>" if others else ""
    )
    return (
        f'<p class="verdict{" broken" * bool(broken)}">{said}</p>{_list_values(broken)}<dl class="facts">{facts}</dl>{more}'
    )


def _list_values(found: dict[str, dict[str, list[str]]]) -> str:
    rows = ""
    for fact, have in found.items():
        known = {value: names for value, names in have.items() if value != UNKNOWN or fact in CONDITIONS}
        who = "".join(f"<dd><code>{_format(value)}</code> {escape(', '.join(names))}</dd>" for value, names in known.items())
        rows += f"<div><dt>{escape(CONDITIONS.get(fact, fact))}</dt>{who}</div>"
    return f'<dl class="differences">{rows}</dl>' if rows else ""


def _format(value: str) -> str:
    if value.isdecimal():
        return f"{int(value):,}"
    return escape(value[:12] if len(value) == 64 else value)  # 64: a fingerprint
