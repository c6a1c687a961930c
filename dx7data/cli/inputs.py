"""Patches and music that are named on the command line, and what is said of them. Slow imports are inside the functions."""

import json
import sys
from pathlib import Path

from dx7data.errors import InputError


def load_patches(paths: list[str], report: Path | None = None, dedupe: str = "bytes", music=None):
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


def load_phrases(options, spec):
    """Phrases from music and their report, None both for drawn ones; says what was met, and what the filters took."""
    if not options.midi and not options.phrases:
        from dx7data.phrases import filters
        from dx7data.plan import drawn

        if spec.filters != filters.NO_FILTERS:
            print(drawn.estimate(spec).text(), file=sys.stderr)
        return None, None
    from dx7data.patches.report import Report
    from dx7data.phrases import corpus

    report = corpus.MusicReport()
    try:
        if options.midi:
            phrases, _ = corpus.read_midi(options.midi, options.seconds, options.beats, spec.filters, report)
        else:
            phrases, _ = corpus.read_table(options.phrases, options.seconds, options.bpm, spec.filters, report)
    finally:  # where no phrase is left, the report says why
        if report.files or report.refused:
            print(report.text(), file=sys.stderr)
        if options.report:
            write_report(options.report, Report(), report)
    return phrases, report


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
