"""What a plan is, in figures and in words: for `plan`, `render` and `extend`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dx7data.output import format_count, log

if TYPE_CHECKING:
    from dx7data.plan.plan import Plan


def summarize(plan: Plan) -> dict:
    """Its figures; those of splits and of what is hidden as the plan has them."""
    from collections import Counter

    from dx7data.plan import hidden

    kinds = Counter(kind for kind, target in zip(plan.patches.kinds, plan.patches.targets, strict=True) if target)
    return {
        "fingerprint": plan.fingerprint,
        "samples": plan.counts,
        "seconds": plan.spec.seconds,
        "sample_rate": plan.spec.sample_rate,
        "hours": sum(plan.counts.values()) * plan.spec.seconds / 3600,
        "shards": len(plan.shards()),
        "patches": dict(kinds),
        "phrases": len(plan.phrases) if plan.phrases else None,
        "split": plan.split_report,
        "hidden": plan.hidden,
        "left_out_as_silent": plan.silent,
        "warnings": hidden.list_warnings(plan),
    }


def describe(found: dict) -> list[str]:
    """The same in words, but for the warnings."""
    from dx7data.plan import hidden, split

    kinds = found["patches"]
    targets = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items() if len(kinds) > 1)
    splits = ", ".join(f"{name} {count:,}" for name, count in found["samples"].items())
    lines = [
        f"{format_count(sum(found['samples'].values()), 'pair')} of {found['seconds']:g} s at {found['sample_rate']} Hz "
        f"from {f'{targets} patches' if targets else format_count(sum(kinds.values()), 'patch')}"
        + (f" and {format_count(found['phrases'], 'phrase')}" if found["phrases"] else "")
        + f": {splits}"
    ]
    lines.append(split.describe(found["split"]))
    lines += [line[0].upper() + line[1:] for line in hidden.describe(found["hidden"])]
    if silent := found["left_out_as_silent"]:
        names = ", ".join(each["name"] for each in silent[:8]) + (", ..." if len(silent) > 8 else "")
        lines.append(
            f"Left out, silent on notes 36, 60 and 84: {format_count(len(silent), 'patch')} ({names}); "
            "--keep-silent keeps them"
        )
    return lines


def announce(found: dict) -> None:
    """Notes for who waits for the shards of a plan."""
    log.info("\n".join(describe(found)))
    for warning in found["warnings"]:
        log.warning(warning)
