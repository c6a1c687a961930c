"""The command line: `dx7data VERB`. Each verb is one function; an InputError is one sentence and exit status 2."""

import argparse
import json
import sys
from pathlib import Path

from dx7data.errors import InputError

_RATES = "8000, 12000, 16000, 24000, 48000, 11025, 22050 or 44100"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 when `verify` finds damage, 2 for a person's error, 130 for Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except InputError as error:
        print(f"dx7data: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `dx7data patches ls bank.syx | head`
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        print("dx7data: stopped; what is whole is kept, and the same command goes on from there", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dx7data", description="Turns Yamaha DX7 patches into training data.", allow_abbrev=False)
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    render = _verb(verbs, "render", _render, "render a bank of patches into WebDataset shards of source and target clips")
    render.add_argument("--patches", nargs="+", required=True, metavar="PATH", help=".syx files, folders, zips; 'example' is our own bank")
    render.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="where the shards go")
    render.add_argument("--samples", type=_whole(1), metavar="N", help="pairs in all (default: 100 for each patch, at least 1,000)")
    render.add_argument("--seconds", type=_positive, default=2.5, help="length of a clip (default: 2.5)")
    render.add_argument("--sample-rate", type=int, default=8000, metavar="HZ", help=f"{_RATES} (default: 8000)")
    render.add_argument("--seed", type=int, default=0, help="of the phrases (default: 0)")
    render.add_argument("--source", default="sine", metavar="sine|PATCH", help="who plays the sources: a pure sine (default) or FILE:INDEX")
    render.add_argument("--split", type=_split, default=(0.8, 0.1, 0.1), metavar="A,B,C", help="parts for train, val and test (default: 0.8,0.1,0.1)")
    render.add_argument("--shard-size", type=_size, default=64_000_000, metavar="BYTES", help="about this much in a shard (default: 64MB)")
    render.add_argument("--gain", type=_gain, default="native", metavar="native|peak|DB", help="as is (default), to -1 dB, or by so many dB")
    render.add_argument("--workers", type=_whole(1), metavar="N", help="processes (default: one for each core)")
    render.add_argument("--keep-silent", action="store_true", help="keep patches that are silent on notes 36, 60 and 84")
    render.add_argument("--overwrite", action="store_true", help="remove an earlier data set from the folder first")
    render.add_argument("--dry-run", action="store_true", help="say what would be made, and how long it would take")
    render.add_argument("--report", type=Path, metavar="FILE", help="write what was found in the patch files, as JSON")

    inspect = _verb(verbs, "inspect", _inspect, "show what is in a folder of shards")
    inspect.add_argument("folder", type=Path)
    inspect.add_argument("--rows", type=_whole(0), default=5, metavar="N", help="samples to show (default: 5)")
    inspect.add_argument("--json", action="store_true", help="for programs")

    verify = _verb(verbs, "verify", _verify, "check every byte of a folder of shards, and render a few samples again")
    verify.add_argument("folder", type=Path)

    patches = verbs.add_parser("patches", help="list, show and convert patches").add_subparsers(required=True, metavar="VERB")
    listing = _verb(patches, "ls", _patches_ls, "one line for each patch, and what was found in the files")
    listing.add_argument("paths", nargs="+", metavar="PATH")
    listing.add_argument("--report", type=Path, metavar="FILE", help="write what was found, repaired and refused, as JSON")
    show = _verb(patches, "show", _patches_show, "every field of a patch, as JSON")
    show.add_argument("patch", metavar="FILE:INDEX")
    export = _verb(patches, "export", _patches_export, "write the patches to a .json, .parquet, .syx or .txt file")
    export.add_argument("paths", nargs="+", metavar="PATH")
    export.add_argument("--out", required=True, type=Path, metavar="FILE")

    wav = _verb(verbs, "wav", _wav, "hear one patch: render a note to a wav file")
    wav.add_argument("--patch", required=True, metavar="FILE:INDEX", help="as in bank.syx:11; voices count from 1")
    wav.add_argument("--note", type=_whole(0, 127), default=60, help="MIDI note (default: 60, middle C)")
    wav.add_argument("--velocity", type=_whole(0, 127), default=100, help="default: 100")
    wav.add_argument("--held", type=_positive, default=1.0, help="seconds until the key is released (default: 1)")
    wav.add_argument("--seconds", type=_positive, default=2.5, help="length (default: 2.5)")
    wav.add_argument("--sample-rate", type=int, default=48000, metavar="HZ", help=f"{_RATES} (default: 48000)")
    wav.add_argument("--gain", type=_gain, default="peak", metavar="native|peak|DB", help="default: peak, -1 dB of full scale")
    wav.add_argument("--out", type=Path, default=Path("patch.wav"), help="default: patch.wav")
    return parser


def _verb(verbs, name: str, run, text: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False)
    parser.set_defaults(run=run)
    return parser


# --- What the options mean ---


def _whole(least: int, most: int | None = None):
    def parse(text: str) -> int:
        value = int(text)
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"must be {least} or more" if most is None else f"must be {least} to {most}")
        return value

    parse.__name__ = "whole number"
    return parse


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 3600:
        raise argparse.ArgumentTypeError("must be more than 0 and less than 3600 seconds")
    return value


_positive.__name__ = "number of seconds"


def _split(text: str) -> tuple[float, ...]:
    parts = tuple(float(part) for part in text.split(","))
    if len(parts) != 3 or min(parts) < 0 or not 0.999 < sum(parts) < 1.001:
        raise argparse.ArgumentTypeError("must be three parts that add up to 1, such as 0.8,0.1,0.1")
    return parts


_split.__name__ = "split"


def _size(text: str) -> int:
    units = {"kb": 1000, "mb": 1000**2, "gb": 1000**3, "": 1}
    number = text.lower().rstrip("kmgb")
    unit = text.lower()[len(number) :]
    if unit not in units or float(number) * units[unit] < 1:
        raise argparse.ArgumentTypeError("must be a number of bytes such as 64MB")
    return int(float(number) * units[unit])


_size.__name__ = "size"


def _gain(text: str) -> str:
    if text not in ("native", "peak") and not -120 <= float(text) <= 60:
        raise argparse.ArgumentTypeError("must be native, peak, or -120 to 60 dB")
    return text if text in ("native", "peak") else repr(float(text))


_gain.__name__ = "gain"


def _engine_rate(sample_rate: int) -> int:
    from dx7data.decimate import engine_rate

    try:
        return engine_rate(sample_rate)
    except ValueError as error:
        raise InputError(f"--sample-rate: {error}") from None


# --- The verbs ---


def _render(options) -> None:
    from dx7data import distribute

    workers = options.workers or distribute.default_workers()
    if not options.dry_run:
        distribute.start_early(workers)
    from dx7data import bank, dataset, patch, plan
    from dx7data.engine.render import is_compiled

    _engine_rate(options.sample_rate)
    source = patch.SINE if options.source == "sine" else bank.pick(options.source)
    loaded = _load(options.patches, options.report)
    if not is_compiled():
        print("Compiling the engine for this machine, once: about 15 seconds", file=sys.stderr)
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
    print(_describe(wanted, samples if options.samples is None else None))
    if options.dry_run:
        print(_estimate(wanted, workers))
        return

    missing = dataset.prepare(wanted, options.out, options.overwrite)
    with _bar(wanted, missing, sys.stderr) as bar:
        dataset.render(wanted, options.out, missing, workers, lambda count: _advance(bar, count, wanted))
    print(f"{len(missing)} shards written, {len(wanted.shards()) - len(missing)} were there: {options.out}")
    print(f"Look at them: dx7data inspect {options.out}")


def _load(paths: list[str], report: Path | None = None):
    from dx7data import bank
    from dx7data.files import write_atomically

    loaded = bank.load(paths)
    if report:
        try:
            write_atomically(report, lambda file: file.write((json.dumps(loaded.report.to_dict(), indent=1) + "\n").encode()))
        except OSError as error:
            raise InputError(f"can't write the report to {report}: {error.strerror or error}") from None
    print(loaded.report.text(), file=sys.stderr)
    if not loaded.ids:
        raise InputError(f"no usable patch in {', '.join(paths)}")
    return loaded


def _describe(wanted, default_samples: int | None) -> str:
    spec = wanted.spec
    total = sum(wanted.counts.values())
    lines = [
        f"{total:,} pairs of {spec.seconds:g} s at {spec.sample_rate} Hz from {len(wanted.ids)} patches: "
        + ", ".join(f"{split} {count:,}" for split, count in wanted.counts.items())
        + (" (--samples chooses another number)" if default_samples else "")
    ]
    if "all" in wanted.splits:
        lines.append("With fewer than 10 patches the split is by phrase: every part has all patches, and phrases of its own")
    if wanted.silent:
        names = ", ".join(each["name"] for each in wanted.silent[:8]) + (", ..." if len(wanted.silent) > 8 else "")
        lines.append(f"Left out, silent on notes 36, 60 and 84: {len(wanted.silent)} patches ({names}); --keep-silent keeps them")
    return "\n".join(lines)


def _estimate(wanted, workers: int) -> str:
    import time

    from dx7data import sample, shard

    count = min(shard.batch_size(wanted), sum(wanted.counts.values()))
    first = wanted.shards()[0]
    sample.render(wanted, first.split, 0, 1)
    began = time.perf_counter()
    members = [each.members() for each in sample.render(wanted, first.split, 0, min(count, first.count))]
    each_takes = (time.perf_counter() - began) / len(members)
    size = sum(1024 + len(data) for _, data in members[0])
    total = sum(wanted.counts.values())
    return (
        f"{total * wanted.spec.seconds / 3600:.2f} hours of target audio, about {total * size / 1e6:,.0f} MB in "
        f"{len(wanted.shards())} shards, about {total * each_takes / workers:,.0f} s with {workers} workers. Nothing was written."
    )


def _bar(wanted, missing, file):
    from tqdm import tqdm

    total = sum(wanted.counts.values())
    return tqdm(total=total, initial=total - sum(each.count for each in missing), unit=" samples", file=file, smoothing=0.1)


def _advance(bar, count: int, wanted) -> None:
    bar.update(count)
    rate = bar.format_dict["rate"] or (bar.n - bar.initial) / max(bar.format_dict["elapsed"], 1e-9)
    bar.set_postfix_str(f"{rate * wanted.spec.seconds:,.0f} x real time", refresh=False)


def _inspect(options) -> None:
    from dx7data import dataset

    found = dataset.summary(options.folder, options.rows)
    if options.json:
        print(json.dumps(found, indent=1))
        return
    peak = found["target_peak"]
    print(f"{found['folder']}: {sum(found['samples'].values()):,} pairs of {found['seconds']:g} s at {found['sample_rate']} Hz, ", end="")
    print(f"{found['hours']:.2f} hours, {found['bytes'] / 1e6:,.1f} MB in {found['shards'][0]} of {found['shards'][1]} shards")
    for split, count in found["samples"].items():
        missing = found["wanted"][split] - count
        print(f"  {split:6}{count:>8,} pairs{f', {missing:,} still to be made' if missing else ''}, {found['patches'][split]} patches")
    if peak:
        print(f"  target peak (of 32,767; gain {found['gain']}): least {peak['least']:,}, median {peak['median']:,}, most {peak['most']:,}")
    print(f"  {found['clipped_samples']:,} samples clip, {found['silent_samples']:,} are silent", end="")
    print(f"; {len(found['left_out_as_silent'])} patches were left out as silent" if found["left_out_as_silent"] else "")
    print("  algorithms " + " ".join(f"{algorithm}:{count}" for algorithm, count in found["algorithms"].items()))
    for row in found["rows"]:
        notes = f"{row['notes']:3} notes {row['lowest_note']:3}-{row['highest_note']:<3}"
        print(f"  {row['key']}  {row['patch_id']}  {row['patch_name']:10}  alg {row['algorithm']:2}  {notes}  peak {row['target_peak']:6,}")


def _verify(options) -> int:
    from tqdm import tqdm

    from dx7data import dataset

    with tqdm(unit="B", unit_scale=True, file=sys.stderr) as bar:
        wrong = dataset.verify(options.folder, bar.update)
    for problem in wrong:
        print(problem)
    print(f"{options.folder}: {len(wrong)} problems" if wrong else f"{options.folder}: every byte is as it was rendered")
    return 1 if wrong else 0


def _patches_ls(options) -> None:
    from dx7data import patch

    loaded = _load(options.paths, options.report)
    for origin, name, each in zip(loaded.origins, loaded.ids, loaded.patches, strict=True):
        print(f"{origin['file']}:{origin['index']:<3} {name}  {patch.summary(each)}")


def _patches_show(options) -> None:
    from dx7data import bank, patch

    print(json.dumps(patch.to_dict(bank.pick(options.patch)), indent=1))


def _patches_export(options) -> None:
    from dx7data import bank

    loaded = _load(options.paths)
    bank.export(loaded, options.out)
    print(f"{len(loaded.ids)} patches: {options.out}")


def _wav(options) -> None:
    from dx7data import bank, gain, patch, sample
    from dx7data.decimate import decimate
    from dx7data.engine.render import render
    from dx7data.files import write_atomically
    from dx7data.voice import voices

    rate = _engine_rate(options.sample_rate)
    each = bank.pick(options.patch)
    native = render(voices(each, options.note, options.velocity, options.held, rate), options.seconds)
    native = decimate(native, options.sample_rate)
    clip, factor, peak, cut = (each[0] for each in gain.apply(native, options.gain))
    try:
        write_atomically(options.out, lambda file: file.write(sample.wav(clip, options.sample_rate)))
    except OSError as error:
        raise InputError(f"can't write {options.out}: {error.strerror or error}") from None
    print(f"{options.out}: {patch.patch_name(each)}, note {options.note}, {options.seconds:g} s at {options.sample_rate} Hz, ", end="")
    print(f"gain {factor / gain.ONE:.2f}, peak {peak:,}{f', {cut:,} samples clip' if cut else ''}")
