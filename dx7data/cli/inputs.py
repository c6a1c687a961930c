"""Patches and music that are named on the command line, and what is said of them. Slow imports are inside the functions."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dx7data.errors import InputError, explain_os_errors
from dx7data.files import refuse_unwritable
from dx7data.output import format_count, log, progress_bar
from dx7data.phrases.source import PhraseSource
from dx7data.phrases.sources import SOURCES
from dx7data.storage import Folder, LocalFolder

if TYPE_CHECKING:
    from tqdm import tqdm

    from dx7data.patches.bank import Bank
    from dx7data.patches.report import Report
    from dx7data.phrases.columns import Phrases
    from dx7data.phrases.report import MusicReport
    from dx7data.plan.spec import Spec


def load_patches(
    paths: list[str], report: Path | None = None, dedupe: str = "bytes", music: MusicReport | None = None
) -> Bank:
    """The patches of some files, with a report for people and, if asked for, for programs: with that of the music."""
    from dx7data.patches import bank

    if report:
        check_not_read("--report", report, paths)
    if bank.EXAMPLE in paths and os.path.exists(bank.EXAMPLE):
        log.warning(f"{bank.EXAMPLE} is the bank that comes with dx7data; ./{bank.EXAMPLE} is what is in this folder")
    loaded = bank.load(paths, keep_duplicates=dedupe == "none")
    if report:
        write_report(report, loaded.report, music)
    log.info(loaded.report.text())
    if not loaded.ids:
        raise bank.explain_empty(paths, loaded.report)
    if dedupe == "audible":
        found, loaded = len(loaded.ids), bank.drop_same_sounds(loaded)
        log.info(f"left out, since they sound like others: {format_count(found - len(loaded.ids), 'patch')}")
    return loaded


def check_not_read(option: str, out: Path, paths: Iterable[str | Path]) -> None:
    """Raises InputError where a file that is read, or is in a folder that is, would be replaced by what is written."""
    whole = Path(os.path.realpath(out))
    if whole.exists() and any(whole.is_relative_to(os.path.realpath(path)) for path in paths):
        raise InputError(f"{option} {out} is one of the files that are read: name another")


def write_report(path: Path, patches: Report, music: MusicReport | None = None) -> None:
    """Reports of patches and, as its entry `music`, of music as JSON."""
    from dx7data.files import write_output

    document = patches.to_dict() | ({"music": music.to_dict()} if music else {})
    with explain_os_errors(f"can't write the report to {path}"):
        write_output(path, (".json",), lambda file: file.write((json.dumps(document, indent=1) + "\n").encode()))


def load_phrases(options: Namespace, spec: Spec) -> tuple[Phrases | None, MusicReport | None]:
    """Phrases from music and their report, None both for drawn ones; says what was met, and what the filters left out."""
    from dx7data.patches.report import Report
    from dx7data.phrases import filters
    from dx7data.phrases.report import MusicReport
    from dx7data.phrases.selection import Wanted
    from dx7data.plan import drawn

    report, source = MusicReport(), choose_source(options)
    value, more = getattr(options, source.name, None), {name: getattr(options, name) for name in source.options}
    if options.report and value:
        music = value if isinstance(value, list) else [value]
        check_not_read("--report", options.report, [*(options.patches or ()), *music])
    try:
        wanted = Wanted(options.seconds, spec.filters, options.max_phrases, spec.seed)
        if source.compiled:
            announce_compilation("the reader of music", source.compiled)
        with _Bar() as bar:
            phrases = source.collect(value, more, wanted, report, bar.show)
        if phrases is not None:
            return phrases, report
    finally:  # where no phrase is left, the report says why
        if report.files or report.refused:
            log.info(report.text())
        if options.report and source.value:
            write_report(options.report, Report(), report)
    if spec.filters != filters.NO_FILTERS:
        log.info(drawn.estimate(spec).text())
    return None, None


class _Bar:
    """Files that were read, the rate and the time left, where there are so many that somebody waits."""

    _WORTH_SHOWING = 200  # files: less than a second

    def __enter__(self) -> _Bar:
        self._bar: tqdm | None = None
        return self

    def show(self, done: int, total: int) -> None:
        if total < self._WORTH_SHOWING:
            return
        if self._bar is None:
            self._bar = progress_bar(total=total, unit=" files", smoothing=0.1)
        self._bar.total = total  # it grows with each zip that is opened
        self._bar.update(done - self._bar.n)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def choose_source(options: Namespace) -> PhraseSource:
    """The source of phrases that is asked for. Raises InputError for an option that belongs to another one."""
    music = [source for source in SOURCES.values() if source.value and getattr(options, source.name)]
    chosen = music[0] if music else next(source for source in SOURCES.values() if source.value is None)
    for source in SOURCES.values():
        for name in source.options:
            if source is not chosen and getattr(options, name):
                name = name.replace("_", "-")
                raise InputError(
                    f"--{name} is for --{source.name}: add it"
                    if source.value
                    else f"--{name} chooses among drawn phrases: leave out --{chosen.name}"
                )
    if chosen.value is None and options.max_phrases:
        raise InputError("--max-phrases is only for music: leave it out where phrases are drawn")
    return chosen


def check_rate(sample_rate: int) -> int:
    """The engine rate for a sample rate, which may be no legal one."""
    from dx7data.audio.resample import engine_rate

    try:
        return engine_rate(sample_rate)
    except ValueError as error:
        raise InputError(f"--sample-rate: {error}") from None


def check_output(folder: Folder) -> None:
    """Before anything is planned. Raises InputError for a folder that is in use for something else, or can't be written."""
    from dx7data.dataset.folders import refuse_foreign

    if not isinstance(folder, LocalFolder):
        folder.check_writable()
        return
    refuse_unwritable(folder.path)
    if os.path.lexists(folder.path):
        refuse_foreign(folder)


def announce_compilation(what: str = "the engine", module: str = "cpu") -> None:
    """Say so when the first render on this machine, or the first reading of music, will take a while."""
    from dx7data import cache

    log.debug(f"compiled code is kept in {cache.folder()}")
    if not cache.is_warm(module):
        log.info(f"Compiling {what} for this machine, once: 15 to 30 seconds")
