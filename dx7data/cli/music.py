"""Music that is named on the command line, and what is said of it. Imports that take time are inside the function."""

import sys

from dx7data.cli.commands import write_report


def load(options, spec):
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
