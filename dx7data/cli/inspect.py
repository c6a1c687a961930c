"""`dx7data inspect`: counts, lengths, levels and a few samples of a folder of shards."""

from argparse import Namespace

from dx7data.cli import types
from dx7data.cli.types import whole
from dx7data.cli.verb import Verbs, add_verb
from dx7data.output import format_count, format_length, print_result


def add_to(verbs: Verbs) -> None:
    inspect = add_verb(verbs, "inspect", run, "show what is in a folder of shards")
    inspect.add_argument("folder", type=types.folder, metavar="FOLDER")
    inspect.add_argument("--rows", type=whole(0), metavar="N", help="samples to show (default: 5, on a page 24)")
    inspect.add_argument("--html", type=types.path, metavar="FILE", help="write a page to look at and listen to")


def run(options: Namespace) -> None:
    from dx7data.dataset import contents

    if options.html:
        from dx7data.page import page

        page.write_page(options.folder, options.html, page.ROWS if options.rows is None else options.rows)
        made = {"folder": str(options.folder), "page": str(options.html)}
        print_result(made, lambda made: [f"Open it in a browser: {made['page']}"], options.html)
        return
    with contents.explain_errors(options.folder):
        found = contents.summarize(options.folder, 5 if options.rows is None else options.rows)
    print_result(found, _describe)


def _describe(found: dict) -> list[str]:
    from dx7data.plan import hidden

    made, wanted = found["shards"]
    lines = [
        f"{found['folder']}: {format_count(sum(found['samples'].values()), 'pair')} of {found['seconds']:g} s "
        f"at {found['sample_rate']} Hz, {format_length(3600 * found['hours'])}, "
        f"{found['bytes'] / 1e6:,.1f} MB in {made} of {format_count(wanted, 'shard')}"
    ]
    for split, count in found["samples"].items():
        missing = found["wanted"][split] - count
        still = f", {missing:,} still to be made" if missing else ""
        patches = format_count(found["patches"][split], "patch")
        groups = format_count(found["groups"][split], "near-duplicate group")
        lines.append(f"  {split:6}{format_count(count, 'pair'):>14}{still}, {patches} in {groups}")
    if peak := found["target_peak"]:
        levels = ", ".join(f"{name} {value:,}" for name, value in peak.items())
        lines.append(f"  target peak, of 32,767, with gain {found['gain']}: {levels}")
    if silent := len(found["left_out_as_silent"]):
        lines.append(f"  left out as silent: {format_count(silent, 'patch')}")
    if made:
        clipped, silent = found["clipped_samples"], found["silent_samples"]
        lines.append(f"  clipped: {format_count(clipped, 'pair')}, silent: {format_count(silent, 'pair')}")
        lines.append(f"  samples by algorithm: {_list_counts(found['algorithms'])}")
        lines.append(f"  samples by kind of phrase: {_list_counts(found['phrases'])}")
    if wanted := "; ".join(filter(None, [", ".join(found["kinds"]), found["filters"]])):
        lines.append(f"  phrases asked for: {wanted}")
    lines += [f"  {line}" for line in hidden.describe(found["hidden"])]
    for row in found["rows"]:
        notes = f"{format_count(row['notes'], 'note'):>9} {row['lowest_note']:3}-{row['highest_note']:<3}"
        more = f" +{row['layers'] - 1}" if row["layers"] > 1 else ""
        patch = f"{row['patch_id']}  {row['patch_name']:10}{more}  algorithm {row['algorithm']:2}"
        lines.append(f"  {row['key']}  {patch}  {notes} {row['phrase_kind']:8}  peak {row['target_peak']:6,}")
        lines += [f"    prefix.{codec}: {' + '.join(names)}" for codec, names in row["prefixes"].items()]
    return lines


def _list_counts(counts: dict) -> str:
    return ", ".join(f"{name}: {count:,}" for name, count in counts.items())
