"""The verbs of the command line, one function each. They print for people, and raise InputError for what a person can mend.

Imports that take time are inside the functions: `dx7data --help` answers at once.
"""

import json
import sys
import time
from pathlib import Path

from dx7data.errors import InputError


def _engine_rate(sample_rate: int) -> int:
    from dx7data.decimate import engine_rate

    try:
        return engine_rate(sample_rate)
    except ValueError as error:
        raise InputError(f"--sample-rate: {error}") from None


def render(options) -> None:
    """`dx7data render`: patches in, shards out."""
    from dx7data import distribute

    workers = options.workers or distribute.default_workers()
    if not options.dry_run:
        distribute.start_early(workers)
    from dx7data import bank, dataset, patch, plan

    _engine_rate(options.sample_rate)
    source = patch.SINE if options.source == "sine" else bank.pick(options.source)
    loaded = _load(options.patches, options.report)
    _announce_compilation()
    samples = options.samples or max(1000, 100 * len(loaded.ids))
    spec = plan.Spec(
        seconds=options.seconds,
        sample_rate=options.sample_rate,
        seed=options.seed,
        source=patch.pack(source).tobytes().hex(),
        split=options.split,
        gain=options.gain,
        keep_silent=options.keep_silent,
        shard_bytes=options.shard_size,
    )
    wanted = plan.make(loaded, spec, samples)
    print(_describe(wanted, options.samples is None))
    if options.dry_run:
        print(_estimate(wanted, workers))
        return

    missing = dataset.prepare(wanted, options.out, options.overwrite)
    with _bar(wanted, missing, sys.stderr) as bar:
        dataset.render(wanted, options.out, missing, workers, lambda count: _advance(bar, count, wanted))
    print(f"{len(missing)} shards written, {len(wanted.shards()) - len(missing)} were there: {options.out}")
    print(f"Look at them: dx7data inspect {options.out}")


def _announce_compilation() -> None:
    from dx7data.engine import cache

    if not cache.is_warm():
        print("Compiling the engine for this machine, once: about 15 seconds", file=sys.stderr)


def _load(paths: list[str], report: Path | None = None):
    from dx7data import bank
    from dx7data.files import write_atomically

    loaded = bank.load(paths)
    if report:
        try:
            write_atomically(
                report, lambda file: file.write((json.dumps(loaded.report.to_dict(), indent=1) + "\n").encode())
            )
        except OSError as error:
            raise InputError(f"can't write the report to {report}: {error.strerror or error}") from None
    print(loaded.report.text(), file=sys.stderr)
    if not loaded.ids:
        raise InputError(f"no usable patch in {', '.join(paths)}")
    return loaded


def _describe(wanted, by_default: bool) -> str:
    spec = wanted.spec
    total = sum(wanted.counts.values())
    lines = [
        f"{total:,} pairs of {spec.seconds:g} s at {spec.sample_rate} Hz from {len(wanted.ids)} patches: "
        + ", ".join(f"{split} {count:,}" for split, count in wanted.counts.items())
        + (" (--samples chooses another number)" if by_default else "")
    ]
    if "all" in wanted.splits:
        lines.append("With fewer than 10 patches the split is by phrase: every part has all patches, and phrases of its own")
    if wanted.silent:
        names = ", ".join(each["name"] for each in wanted.silent[:8]) + (", ..." if len(wanted.silent) > 8 else "")
        lines.append(
            f"Left out, silent on notes 36, 60 and 84: {len(wanted.silent)} patches ({names}); --keep-silent keeps them"
        )
    return "\n".join(lines)


def _estimate(wanted, workers: int) -> str:
    from dx7data import sample, shard

    first = wanted.shards()[0]
    sample.render(wanted, first.split, 0, 1)
    began = time.perf_counter()
    members = [each.members() for each in sample.render(wanted, first.split, 0, min(shard.batch_size(wanted), first.count))]
    each_takes = (time.perf_counter() - began) / len(members)
    size = sum(1024 + len(data) for _, data in members[0])
    total = sum(wanted.counts.values())
    return (
        f"{total * wanted.spec.seconds / 3600:.2f} hours of target audio, about {total * size / 1e6:,.0f} MB in "
        f"{len(wanted.shards())} shards, about {total * each_takes / workers:,.0f} s with {workers} workers. "
        "Nothing was written."
    )


def _bar(wanted, missing, file):
    from tqdm import tqdm

    total = sum(wanted.counts.values())
    return tqdm(total=total, initial=total - sum(each.count for each in missing), unit=" samples", file=file, smoothing=0.1)


def _advance(bar, count: int, wanted) -> None:
    bar.update(count)
    rate = bar.format_dict["rate"] or (bar.n - bar.initial) / max(bar.format_dict["elapsed"], 1e-9)
    bar.set_postfix_str(f"{rate * wanted.spec.seconds:,.0f} x real time", refresh=False)


def inspect(options) -> None:
    """`dx7data inspect FOLDER`: counts, lengths, levels and a few samples."""
    from dx7data import dataset

    found = dataset.summary(options.folder, options.rows)
    print(json.dumps(found, indent=1) if options.json else _inspected(found))


def _inspected(found: dict) -> str:
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
    for row in found["rows"]:
        notes = f"{row['notes']:3} notes {row['lowest_note']:3}-{row['highest_note']:<3}"
        patch = f"{row['patch_id']}  {row['patch_name']:10}  algorithm {row['algorithm']:2}"
        lines.append(f"  {row['key']}  {patch}  {notes}  peak {row['target_peak']:6,}")
    return "\n".join(lines)


def verify(options) -> int:
    """`dx7data verify FOLDER`: 0 when every byte is as it was rendered, else 1."""
    from tqdm import tqdm

    from dx7data import dataset

    _announce_compilation()
    size = sum(path.stat().st_size for pattern in ("*.tar", "*.parquet") for path in options.folder.glob(pattern))
    with tqdm(total=size, unit="B", unit_scale=True, file=sys.stderr) as bar:
        wrong = dataset.verify(options.folder, bar.update)
    for problem in wrong:
        print(problem)
    print(f"{options.folder}: {len(wrong)} problems" if wrong else f"{options.folder}: every byte is as it was rendered")
    return 1 if wrong else 0


def patches_ls(options) -> None:
    """`dx7data patches ls PATH...`: one line for each patch."""
    from dx7data import patch

    loaded = _load(options.paths, options.report)
    for origin, name, each in zip(loaded.origins, loaded.ids, loaded.patches, strict=True):
        print(f"{origin['file']}:{origin['index']:<3} {name}  {patch.summary(each)}")


def patches_show(options) -> None:
    """`dx7data patches show FILE:INDEX`: every field of a patch."""
    from dx7data import bank, patch

    print(json.dumps(patch.to_dict(bank.pick(options.patch)), indent=1))


def patches_export(options) -> None:
    """`dx7data patches export PATH... --out FILE`: the patches in another format."""
    from dx7data import bank

    loaded = _load(options.paths)
    bank.export(loaded, options.out)
    print(f"{len(loaded.ids)} patches: {options.out}")


def wav(options) -> None:
    """`dx7data wav`: one note of one patch."""
    from dx7data import bank, gain, patch, sample
    from dx7data.decimate import decimate
    from dx7data.engine.render import render
    from dx7data.files import write_atomically
    from dx7data.voice import voices

    rate = _engine_rate(options.sample_rate)
    each = bank.pick(options.patch)
    _announce_compilation()
    native = render(voices(each, options.note, options.velocity, options.held, rate), options.seconds)
    native = decimate(native, options.sample_rate)
    clip, factor, peak, cut = (each[0] for each in gain.apply(native, options.gain))
    try:
        write_atomically(options.out, lambda file: file.write(sample.wav(clip, options.sample_rate)))
    except OSError as error:
        raise InputError(f"can't write {options.out}: {error.strerror or error}") from None
    print(
        f"{options.out}: {patch.patch_name(each)}, note {options.note}, {options.seconds:g} s at {options.sample_rate} Hz, ",
        end="",
    )
    print(f"gain {factor / gain.ONE:.2f}, peak {peak:,}{f', {cut:,} samples clip' if cut else ''}")
