"""The verbs of the command line, one function each. They print for people, and raise InputError for what a person can mend.

Imports that take time are inside the functions: `dx7data --help` answers at once.
"""

import json
import sys
import time
from pathlib import Path

from dx7data.errors import InputError
from dx7data.patches.report import make_printable


def check_rate(sample_rate: int) -> int:
    """The engine rate for a sample rate, which may be no legal one."""
    from dx7data.audio.resample import engine_rate

    try:
        return engine_rate(sample_rate)
    except ValueError as error:
        raise InputError(f"--sample-rate: {error}") from None


def announce_compilation() -> None:
    """Say so when the first render on this machine will take a while."""
    from dx7data import cache

    if not cache.is_warm():
        print("Compiling the engine for this machine, once: about 15 seconds", file=sys.stderr)


def load(paths: list[str], report: Path | None = None, dedupe: str = "bytes", music=None):
    """The patches of some files, with a report for people and, if asked for, for programs: with that of the music."""
    from dx7data.patches import bank

    loaded = bank.load(paths, keep_duplicates=dedupe == "none")
    if report:
        write_report(report, loaded.report, music)
    print(loaded.report.text(), file=sys.stderr)
    if not loaded.ids:
        raise InputError(f"no usable patch in {', '.join(paths)}")
    if dedupe == "audible":
        found, loaded = len(loaded.ids), bank.drop_same_sounds(loaded)
        print(f"left out, since they sound like others: {found - len(loaded.ids):,} patches", file=sys.stderr)
    return loaded


def write_report(path: Path, patches, music=None) -> None:
    """Reports of patches and, as its entry `music`, of music as JSON."""
    from dx7data.files import write_atomically

    document = patches.to_dict() | ({"music": music.to_dict()} if music else {})
    try:
        write_atomically(path, lambda file: file.write((json.dumps(document, indent=1) + "\n").encode()))
    except OSError as error:
        raise InputError(f"can't write the report to {path}: {error.strerror or error}") from None


def bench(options) -> None:
    """`dx7data bench`: one table of how fast the engine is here."""
    from dx7data.cli import bench

    loaded = load(options.patches)
    announce_compilation()
    print(bench.measure(loaded.patches))


def inspect(options) -> None:
    """`dx7data inspect FOLDER`: counts, lengths, levels and a few samples."""
    from dx7data.dataset import folders

    if options.html:
        from dx7data.page import page

        page.write_page(options.folder, options.html)
        print(make_printable(f"Open it in a browser: {options.html}"))
        return
    with folders.explain_errors(options.folder):
        found = folders.summarize(options.folder, options.rows)
    print(json.dumps(found, indent=1) if options.json else "\n".join(map(make_printable, _describe(found))))


def _describe(found: dict) -> list[str]:
    from dx7data.plan import hidden

    made, wanted = found["shards"]
    lines = [
        f"{found['folder']}: {sum(found['samples'].values()):,} pairs of {found['seconds']:g} s "
        f"at {found['sample_rate']} Hz, {found['hours']:.2f} hours, "
        f"{found['bytes'] / 1e6:,.1f} MB in {made} of {wanted} shards"
    ]
    for split, count in found["samples"].items():
        missing = found["wanted"][split] - count
        still = f", {missing:,} still to be made" if missing else ""
        lines.append(f"  {split:6}{count:>8,} pairs{still}, {found['patches'][split]} patches")
    if peak := found["target_peak"]:
        levels = ", ".join(f"{name} {value:,}" for name, value in peak.items())
        lines.append(f"  target peak, of 32,767, with gain {found['gain']}: {levels}")
    silent = len(found["left_out_as_silent"])
    lines.append(
        f"  {found['clipped_samples']:,} samples clip, {found['silent_samples']:,} are silent"
        + (f"; {silent} patches were left out as silent" if silent else "")
    )
    lines.append(
        "  algorithm:samples " + " ".join(f"{algorithm}:{count}" for algorithm, count in found["algorithms"].items())
    )
    wanted = "; ".join(filter(None, [", ".join(found["kinds"]), found["filters"]]))
    lines.append(
        "  phrase:samples "
        + " ".join(f"{kind}:{count}" for kind, count in found["phrases"].items())
        + (f" ({wanted})" if wanted else "")
    )
    lines += [f"  {line}" for line in hidden.describe(found["hidden"])]
    for row in found["rows"]:
        notes = f"{row['notes']:3} notes {row['lowest_note']:3}-{row['highest_note']:<3}"
        more = f" +{row['layers'] - 1}" if row["layers"] > 1 else ""
        patch = f"{row['patch_id']}  {row['patch_name']:10}{more}  algorithm {row['algorithm']:2}"
        lines.append(f"  {row['key']}  {patch}  {notes} {row['phrase_kind']:8}  peak {row['target_peak']:6,}")
        lines += [f"    prefix.{codec}: {' + '.join(names)}" for codec, names in row["prefixes"].items()]
    return lines


def verify(options) -> int:
    """`dx7data verify FOLDER [--full] [--fix]`: 0 when nothing is wrong, or all is mended, else 1."""
    from tqdm import tqdm

    from dx7data.dataset import verify

    announce_compilation()
    size, began = _measure(options.folder), time.perf_counter()
    with tqdm(total=size * (1 + options.full), unit="B", unit_scale=True, file=sys.stderr) as bar:
        wrong = verify.verify(options.folder, bar.update, options.fix, options.full)
    took = time.perf_counter() - began
    left = verify.verify(options.folder) if wrong and options.fix else wrong
    _print_some(wrong)
    if options.fix:
        _print_some([f"left: {problem}" for problem in left])
    _print_some([f"note: {remark}" for remark in verify.list_remarks(options.folder)])
    checked = make_printable(f"{options.folder}: {size / 1e6:,.0f} MB at {size / 1e6 / took:,.0f} MB/s")
    if not wrong:
        print(f"{checked}; {_verdict(options)}")
    elif options.fix:
        print(f"{checked}; {len(wrong)} problems, {len(left)} of them are left")
    else:
        print(f"{checked}; {len(wrong)} problems, --fix makes again what is damaged")
    return 1 if left else 0


def _verdict(options) -> str:
    """What is known when nothing is wrong: no more than was looked at."""
    from dx7data.dataset.verify import RENDERED_AGAIN

    if options.full:
        return "all samples were rendered again: every byte is as it was rendered"
    return (
        f"every file is as it was written, and up to {RENDERED_AGAIN} samples of each shard were rendered again and are the "
        "same; --full renders all of them"
    )


def _measure(folder: Path) -> int:
    """Bytes of the files that verify reads, of those that are files."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder")
    files = (path for pattern in ("*.tar", "*.parquet") for path in folder.glob(pattern) if path.is_file())
    return sum(path.stat().st_size for path in files)


def _print_some(lines: list[str], limit: int = 1000) -> None:
    """The first of them; a folder may hold a million things."""
    for line in lines[:limit]:
        print(make_printable(line))
    if len(lines) > limit:
        print(f"and {len(lines) - limit:,} more")


def patches_ls(options) -> None:
    """`dx7data patches ls PATH...`: one line for each patch."""
    from dx7data.patches import patch

    loaded = load(options.paths, options.report, "none" if options.keep_duplicates else "bytes")
    for origin, name, each in zip(loaded.origins, loaded.ids, loaded.patches, strict=True):
        print(make_printable(f"{origin['file']}:{origin['index']:<3} {name}  {patch.summarize(each)}"))


def patches_show(options) -> None:
    """`dx7data patches show FILE:INDEX`: every field of a patch."""
    from dx7data.patches import bank, patch

    print(json.dumps(patch.to_dict(bank.pick(options.patch)), indent=1))


def patches_export(options) -> None:
    """`dx7data patches export PATH... --out FILE`: the patches in another format."""
    from dx7data.patches import bank

    loaded = load(options.paths, dedupe="none" if options.keep_duplicates else "bytes")
    bank.export(loaded, options.out, options.full_bank)
    print(f"{len(loaded.ids)} patches: {options.out}")


def wav(options) -> None:
    """`dx7data wav`: one note of one patch."""
    from dx7data.audio import gain
    from dx7data.audio.resample import decimate
    from dx7data.engine.render import render
    from dx7data.engine.voice import voices
    from dx7data.files import write_atomically
    from dx7data.patches import bank, patch
    from dx7data.plan import sample

    rate = check_rate(options.sample_rate)
    each = bank.pick(options.patch)
    announce_compilation()
    native = render(voices(each, options.note, options.velocity, options.held, rate), options.seconds)
    native = decimate(native, options.sample_rate)
    clip, factor, peak, cut = (each[0] for each in gain.apply(native, options.gain))
    try:
        write_atomically(options.out, lambda file: file.write(sample.encode_wav(clip, options.sample_rate)))
    except OSError as error:
        raise InputError(f"can't write {options.out}: {error.strerror or error}") from None
    print(
        f"{options.out}: {patch.patch_name(each)}, note {options.note}, {options.seconds:g} s at {options.sample_rate} Hz, ",
        end="",
    )
    print(f"gain {factor / gain.ONE:.2f}, peak {peak:,}{f', {cut:,} samples clip' if cut else ''}")
