"""From the options of `render` and `plan` to a plan."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dx7data.cli import types
from dx7data.cli.inputs import announce_compilation, check_rate, choose_source, load_patches, load_phrases
from dx7data.cli.types import number, seed, span, whole
from dx7data.cli.verb import Options
from dx7data.errors import InputError
from dx7data.output import log
from dx7data.phrases.source import Option
from dx7data.phrases.sources import SOURCES

if TYPE_CHECKING:
    from dx7data.plan.plan import Plan
    from dx7data.plan.spec import Spec

RATES = "8000, 12000, 16000, 24000, 48000, 11025, 22050 or 44100"
SECONDS = number(0.01, 600, "seconds")


def add_plan_options(verb: ArgumentParser) -> None:
    _clip_options(verb)
    _patch_options(verb.add_argument_group("patches"))
    _phrase_options(
        verb.add_argument_group("phrases", "the filters, from --polyphony on, are for drawn phrases and for music")
    )


def _clip_options(render: ArgumentParser) -> None:
    count = render.add_mutually_exclusive_group()
    count.add_argument(
        "--samples",
        type=whole(1, 10**9),
        metavar="N",
        help="number of samples in all (default: 100 for each patch, at least 1,000)",
    )
    count.add_argument(
        "--per-patch",
        type=whole(1, 10**6),
        metavar="N",
        help="number of samples for each target patch, instead of --samples",
    )
    render.add_argument("--seconds", type=SECONDS, default=2.5, help="length of a clip (default: 2.5)")
    render.add_argument("--sample-rate", type=int, default=8000, metavar="HZ", help=f"{RATES} (default: 8000)")
    render.add_argument(
        "--prefix",
        nargs="+",
        default=["none"],
        metavar="none|bytes|fsk|reference",
        help="encode the target patch as audio, by one or more codecs: bytes (levels), fsk (tones), reference (a note)",
    )
    render.add_argument(
        "--gain",
        type=types.gain,
        default="native",
        metavar="native|peak|DB",
        help="native: the DX7's own integers (default); peak: each clip to -1 dB of full scale; or a number of dB",
    )
    render.add_argument(
        "--split",
        type=types.split,
        default=(0.8, 0.1, 0.1),
        metavar="A,B,C",
        help="shares of the splits train, val and test (default: 0.8,0.1,0.1)",
    )
    render.add_argument(
        "--split-by",
        choices=("patch", "phrase", "algorithm", "bank"),
        default="patch",
        help="what must not be in two splits (default: patch, with its near-duplicates)",
    )
    render.add_argument(
        "--train-patches",
        type=whole(1, 10**9),
        metavar="N",
        help="keep only N of train's target patches, chosen by --seed; val and test stay the same (default: all)",
    )
    render.add_argument("--seed", type=seed(), default=0, help="seed of all random choices (default: 0)")
    render.add_argument(
        "--shard-size",
        type=types.size,
        default=64_000_000,
        metavar="BYTES",
        help="approximate size of a shard (default: 64MB)",
    )
    render.add_argument("--title", type=types.card_text, metavar="TEXT", help="title of the data-set card")
    render.add_argument(
        "--license",
        type=types.card_text,
        metavar="NAME",
        help="licence of the data set, for its card: a name that the Hub knows, such as cc-by-4.0, or any other",
    )


def _patch_options(render: Options) -> None:
    render.add_argument(
        "--patches",
        nargs="+",
        metavar="PATH",
        help="SysEx files, exports, folders, zips; 'example' is the bank that comes with dx7data",
    )
    render.add_argument(
        "--report", type=types.path, metavar="FILE", help="write what was found in patch and music files, as JSON"
    )
    render.add_argument("--keep-silent", action="store_true", help="keep patches that are silent on notes 36, 60 and 84")
    render.add_argument(
        "--targets",
        nargs="+",
        default=["all"],
        metavar="PATCH",
        help="use only these patches as targets, by NAME or FILE:INDEX (default: all)",
    )
    render.add_argument(
        "--hold-out",
        type=types.path,
        metavar="FILE",
        help="a list of patches, a line each, that go to test with their near-duplicates",
    )
    render.add_argument(
        "--dedupe",
        choices=("none", "bytes", "audible"),
        default="bytes",
        help="keep one patch of several with the same parameters (bytes, the default) or sound (audible), or all (none)",
    )
    render.add_argument(
        "--source",
        default="sine",
        metavar="sine|sine-flat|random|PATCH",
        help="who plays the sources: a sine that follows velocity (default), one that does not, any patch, or FILE:INDEX",
    )
    render.add_argument(
        "--layers", type=span(1, 8), default=(1, 1), metavar="A..B", help="patches that sound together (default: 1)"
    )
    render.add_argument(
        "--pairs",
        nargs="?",
        type=whole(1, 1000),
        const=1,
        default=0,
        metavar="N",
        help="every second sample repeats the one before it with one audible parameter changed; N: versions of a patch (1)",
    )
    render.add_argument(
        "--perturb", type=whole(0, 10**6), default=0, metavar="N", help="add N mutations and crossovers of the patches"
    )
    render.add_argument(
        "--random-patches", type=whole(0, 10**6), default=0, metavar="N", help="add N voices drawn from all legal ones"
    )


def _phrase_options(render: Options) -> None:
    music = render.add_mutually_exclusive_group()
    for source in SOURCES.values():
        if source.value:
            _add_option(music, source.name, source.value)
        for name, option in source.options.items():
            _add_option(render, name, option)
    render.add_argument(
        "--max-phrases",
        type=whole(1, 10**9),
        metavar="N",
        help="keep at most N phrases of all the music, chosen by --seed",
    )
    render.add_argument(
        "--polyphony", type=span(1, None), metavar="A..B", help="keep phrases whose densest moment has A to B notes"
    )
    render.add_argument("--notes", type=span(1, None), metavar="A..B", help="keep phrases of A to B notes")
    render.add_argument("--pitch-range", type=span(0, 127), metavar="A..B", help="keep phrases within these MIDI notes")
    render.add_argument("--velocity", type=span(1, 127), metavar="A..B", help="keep phrases within these velocities")
    render.add_argument(
        "--different-notes", type=whole(1, 128), metavar="N", help="keep phrases with at least N different pitches"
    )
    render.add_argument(
        "--filled",
        type=number(0, 1),
        metavar="PART",
        help="keep phrases in which notes sound for at least this part of the phrase, 0 to 1",
    )


def _add_option(group: Options, name: str, option: Option) -> None:
    """An option of a source of phrases."""
    kind: Callable[[str], Any] = option.type
    if option.names:
        kind = types.choices(*option.names)
    elif option.limits:
        low, high = option.limits
        kind = whole(int(low), int(high)) if option.type is int else number(low, high, option.unit)
    more: dict[str, Any] = {"nargs": "+"} if option.many else {"default": ()} if option.names else {}
    group.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=option.metavar, help=option.help, **more)


def make_plan(options: Namespace) -> Plan:
    """The plan that the options ask for."""
    from dx7data.patches import bank
    from dx7data.plan import builder

    _check(options)
    asked = _make_spec(options)
    phrases, met = load_phrases(options, asked)
    loaded = load_patches(options.patches, options.report, options.dedupe, met) if options.patches else bank.load([])
    targets = None if "all" in options.targets else bank.choose(loaded, options.targets)
    held_out = bank.read_list(loaded, options.hold_out) if options.hold_out else set()
    announce_compilation()
    samples = options.samples or max(1000, 100 * (len(loaded.ids) + options.random_patches + options.perturb))
    plan = builder.make_plan(loaded, asked, samples, options.per_patch, targets, phrases, held_out)
    if options.samples is None and options.per_patch is None:
        log.info(f"{samples:,} samples, the default for so many patches; --samples or --per-patch sets another number")
    most, usable = sum(plan.counts.values()) * asked.layers[1], sum(plan.patches.targets)
    if most < usable:
        log.info(f"These samples use at most {most:,} of the {usable:,} patches: ask for more --samples to use them all")
    return replace(plan, title=options.title, license=options.license)


def _check(options: Namespace) -> None:
    """Options that have no meaning without another."""
    check_rate(options.sample_rate)
    choose_source(options)
    if len(set(options.prefix)) < len(options.prefix) or ("none" in options.prefix and len(options.prefix) > 1):
        raise InputError(f"--prefix {' '.join(options.prefix)}: name each codec once, or none alone")
    if options.prefix != ["none"]:
        from dx7data import prefix

        if unknown := [codec for codec in options.prefix if codec not in prefix.CODECS]:
            raise InputError(f"--prefix {unknown[0]} is no codec: take some of {', '.join(sorted(prefix.CODECS))}, or none")
    if "all" in options.targets and len(options.targets) > 1:
        raise InputError(f"--targets {' '.join(options.targets)}: name patches, or all alone")
    if options.report and not options.patches:
        raise InputError("--report says what was found in files of patches: add --patches, or leave it out")
    if not options.patches and not options.random_patches:
        raise InputError("there is nothing to render: name files with --patches, or ask for --random-patches N")


def _make_spec(options: Namespace) -> Spec:
    from dx7data.patches import bank, patch
    from dx7data.phrases import filters
    from dx7data.plan import spec

    source = options.source
    if source != spec.RANDOM_SOURCE:
        own = {"sine": patch.SINE, "sine-flat": patch.SINE_FLAT}
        source = patch.pack(own[source] if source in own else bank.pick(source)).tobytes().hex()
    return spec.Spec(
        seconds=options.seconds,
        sample_rate=options.sample_rate,
        seed=options.seed,
        source=source,
        split=options.split,
        split_by=options.split_by,
        gain=options.gain,
        keep_silent=options.keep_silent,
        shard_bytes=options.shard_size,
        layers=options.layers,
        pairs=options.pairs,
        perturb=options.perturb,
        random_patches=options.random_patches,
        train_patches=options.train_patches,
        prefixes=tuple(sorted(codec for codec in options.prefix if codec != "none")),
        kinds=options.kinds,
        filters=filters.Filters(**{name: value for name in filters.NAMES if (value := getattr(options, name)) is not None}),
    )
