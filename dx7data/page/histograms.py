"""The histograms of the page: levels, notes, algorithms, splits, phrases and near-duplicate groups of a data set."""

from collections import Counter

import numpy as np
from markupsafe import Markup

from dx7data.markup import html, join

_PEAK_STEP_DB, _PEAK_LEAST_DB = 3, -60
_LEAST_COLUMNS = 12  # a few would be too broad
COLUMNS = ["target_peak", "notes", "lowest_note", "highest_note"]


def draw_histograms(summary: dict, table: dict) -> Markup:
    """All of them, from contents.summarize and COLUMNS of all samples."""
    peaks = table["target_peak"]
    levels = np.where(peaks > 0, 20 * np.log10(np.maximum(peaks, 1) / 32768), -np.inf)
    steps = Counter(np.maximum(levels, _PEAK_LEAST_DB) // _PEAK_STEP_DB * _PEAK_STEP_DB)
    decibels = [(f"{low} to {low + _PEAK_STEP_DB} dB", steps[low]) for low in range(_PEAK_LEAST_DB, 0, _PEAK_STEP_DB)]
    decibels[-1] = (decibels[-1][0], decibels[-1][1] + steps[0])  # full scale
    lowest, highest = int(table["lowest_note"].min()), int(table["highest_note"].max())
    keys = range(lowest, highest + 1)
    reach = [(f"key {key}", int(((table["lowest_note"] <= key) & (key <= table["highest_note"])).sum())) for key in keys]
    algorithms = [(f"algorithm {n}", summary["algorithms"].get(n, 0)) for n in range(1, 33)]
    return join(
        (
            _draw_histogram("Target peak", decibels, ("−60 dB", "−30", "0")),
            _draw_histogram("Notes in a phrase", *_count_integers(table["notes"])),
            _draw_histogram("Keys within a phrase's range", reach, (str(lowest), "key", str(highest))),
            _draw_histogram("Algorithm of the first layer", algorithms, ("1", "8", "16", "24", "32")),
            _draw_bars("Splits", summary["samples"]),
            _draw_bars("Phrases", summary["phrases"]),
            _draw_bars("Near-duplicate groups of patches", _group_sizes(summary["families"])),
        )
    )


def _group_sizes(groups: dict[int, int]) -> dict[str, int]:
    """How many near-duplicate groups there are of each size, from 5 on of sizes up to twice as large."""
    sizes: Counter = Counter()
    for size, count in groups.items():
        top = size if size <= 4 else 1 << (size - 1).bit_length()
        sizes[f"of {size}" if size <= 4 else f"of {top // 2 + 1}–{top}"] += count
    return dict(sizes)


def _count_integers(values: np.ndarray) -> tuple[list[tuple[str, int]], tuple[str, str]]:
    """Columns for 1 to the largest value, some numbers in each if there are many; and the words below."""
    step = -(-int(values.max()) // 32)
    counts = np.bincount((values - 1) // step, minlength=_LEAST_COLUMNS)
    labels = [f"{1 + i * step}" + f" to {(i + 1) * step}" * (step > 1) for i in range(len(counts))]
    return list(zip(labels, counts.tolist(), strict=True)), ("1", str(len(counts) * step))


# --- Drawings, as SVG text: columns and bars ---


def _draw_histogram(title: str, counts: list[tuple[str, int]], ends: tuple[str, ...]) -> Markup:
    """Columns with what each one counts as its tooltip, and a few words below them."""
    maximum = max(count for _, count in counts)
    described = ", ".join(f"{label}: {count:,}" for label, count in counts if count)
    columns = join(
        html(
            '<rect x="{}" y="{:.3f}" width="0.9" height="{:.3f}"><title>{}: {:,}</title></rect>',
            i,
            1 - count / maximum,
            count / maximum,
            label,
            count,
        )
        for i, (label, count) in enumerate(counts)
    )
    return html(
        '<figure class="histogram"><figcaption>{title} <span>{maximum:,}</span></figcaption>'
        '<svg class="columns" role="img" aria-label="{title}: {described}" viewBox="0 0 {width} 1" '
        'preserveAspectRatio="none">{columns}</svg><p class="ends">{ends}</p></figure>',
        title=title,
        maximum=maximum,
        described=described,
        width=len(counts),
        columns=columns,
        ends=join(html("<span>{}</span>", end) for end in ends),
    )


def _draw_bars(title: str, counts: dict[str, int]) -> Markup:
    """A bar for each name."""
    maximum = max(counts.values())
    rows = join(
        html(
            '<li><span>{}</span><svg viewBox="0 0 1 1" preserveAspectRatio="none" aria-hidden="true">'
            '<rect width="{:.3f}" height="1"/></svg><b>{:,}</b></li>',
            name,
            max(0.003, count / maximum),
            count,
        )
        for name, count in counts.items()
    )
    return html('<figure class="histogram"><figcaption>{}</figcaption><ul class="bars">{}</ul></figure>', title, rows)
