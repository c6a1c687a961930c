"""The command line: `dx7data VERB` and its options. types.py reads them, commands.py and rendering.py do the work."""

import argparse
import sys
from pathlib import Path

from dx7data.cli import commands, rendering, types
from dx7data.cli.types import number, span, whole
from dx7data.errors import InputError
from dx7data.patches.report import make_printable

_RATES = "8000, 12000, 16000, 24000, 48000, 11025, 22050 or 44100"
_SECONDS = number(0.01, 600, "seconds")
_KINDS = ("walk", "scale", "arpeggio", "chords", "repeated", "melody")  # compose.KINDS, which would take time to import


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 when `verify` finds damage, 2 for a person's error, 130 for Ctrl-C."""
    options = make_parser().parse_args(argv)
    try:
        _refuse_beside_plan(options)
        return options.run(options) or 0
    except InputError as error:
        print(f"dx7data: {make_printable(error)}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `dx7data patches ls bank.syx | head`
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        print("dx7data: stopped; what is whole is kept, and the same command goes on from there", file=sys.stderr)
        return 130


def _refuse_beside_plan(options) -> None:
    """With --plan, what to render is in its folder: an option that says otherwise would be ignored."""
    if getattr(options, "plan", None):
        defaults = vars(make_parser().parse_args(["render"]))
        how = {"plan", "out", "only", "job", "workers", "device", "overwrite", "dry_run"}
        if given := [name for name, value in vars(options).items() if name not in how and value != defaults[name]]:
            raise InputError(f"--{given[0].replace('_', '-')} is a part of the plan: leave it out beside --plan")


def make_parser() -> argparse.ArgumentParser:
    """All verbs and their options."""
    top = argparse.ArgumentParser(
        prog="dx7data", description="Turns Yamaha DX7 patches into training data.", allow_abbrev=False
    )
    top.add_argument("--version", action=_Version, nargs=0, help="print the version")
    verbs = top.add_subparsers(title="verbs", required=True, metavar="VERB")

    render = _verb(
        verbs, "render", rendering.render, "render a bank of patches into WebDataset shards of source and target clips"
    )
    _render_options(render)
    _plan_options(render)
    plan = _verb(verbs, "plan", rendering.plan, "write the plan of a data set alone, for others to render with --plan")
    plan.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="where the plan goes")
    plan.add_argument("--overwrite", action="store_true", help="remove an earlier data set from the folder first")
    _plan_options(plan)

    extend = _verb(verbs, "extend", rendering.extend, "add samples to a data set, or patches to its plan")
    extend.add_argument("folder", type=Path)
    extend.add_argument("--samples", type=whole(1, 10**9), metavar="N", help="pairs in all, not fewer than there are")
    extend.add_argument("--patches", nargs="+", metavar="PATH", help="add these; then --out gets the new plan")
    extend.add_argument("--out", type=Path, metavar="FOLDER", help="where the plan with new patches goes")
    _machine_options(extend)

    inspect = _verb(verbs, "inspect", commands.inspect, "show what is in a folder of shards")
    inspect.add_argument("folder", type=Path)
    inspect.add_argument("--rows", type=whole(0), default=5, metavar="N", help="samples to show (default: 5)")
    inspect.add_argument("--json", action="store_true", help="for programs")
    inspect.add_argument("--html", type=Path, metavar="FILE", help="write a page to look at and listen to, of 24 samples")

    verify = _verb(
        verbs, "verify", commands.verify, "check every byte of a folder of shards, and render a few samples again"
    )
    verify.add_argument("folder", type=Path)
    verify.add_argument("--full", action="store_true", help="render all samples again, and compare every byte")
    verify.add_argument("--fix", action="store_true", help="make damaged and missing shards again, to the same bytes")

    bench = _verb(verbs, "bench", commands.bench, "measure the engine here: on a core, on all cores, on the GPUs there are")
    bench.add_argument("--patches", nargs="+", default=["example"], metavar="PATH", help="default: the example bank")

    patches = verbs.add_parser("patches", help="list, show and convert patches").add_subparsers(
        required=True, metavar="VERB"
    )
    listing = _verb(patches, "ls", commands.patches_ls, "one line for each patch, and what was found in the files")
    listing.add_argument("paths", nargs="+", metavar="PATH")
    listing.add_argument("--report", type=Path, metavar="FILE", help="write what was found, repaired and refused, as JSON")
    listing.add_argument("--keep-duplicates", action="store_true", help="patches that are there several times, too")
    show = _verb(patches, "show", commands.patches_show, "every field of a patch, as JSON")
    show.add_argument("patch", metavar="FILE:INDEX")
    export = _verb(patches, "export", commands.patches_export, "write the patches to a .json, .parquet, .syx or .txt file")
    export.add_argument("paths", nargs="+", metavar="PATH")
    export.add_argument("--out", required=True, type=Path, metavar="FILE")
    export.add_argument(
        "--keep-duplicates", action="store_true", help="each patch as often as it is there, so that all keep their positions"
    )
    export.add_argument("--full-bank", action="store_true", help="fill up the last bank of a .syx file with INIT VOICEs")

    wav = _verb(verbs, "wav", commands.wav, "hear one patch: render a note to a wav file")
    wav.add_argument("--patch", required=True, metavar="FILE:INDEX", help="as in bank.syx:11; voices count from 1")
    wav.add_argument("--note", type=whole(0, 127), default=60, help="MIDI note (default: 60, middle C)")
    wav.add_argument("--velocity", type=whole(0, 127), default=100, help="default: 100")
    wav.add_argument("--held", type=_SECONDS, default=1.0, help="seconds until the key is released (default: 1)")
    wav.add_argument("--seconds", type=_SECONDS, default=2.5, help="length (default: 2.5)")
    wav.add_argument("--sample-rate", type=int, default=48000, metavar="HZ", help=f"{_RATES} (default: 48000)")
    wav.add_argument(
        "--gain", type=types.gain, default="peak", metavar="native|peak|DB", help="default: peak, -1 dB of full scale"
    )
    wav.add_argument("--out", type=Path, default=Path("patch.wav"), help="default: patch.wav")
    return top


class _Version(argparse.Action):
    """Looked up only when it is asked for: that takes longer than to show the help."""

    def __call__(self, parser, *_):
        import dx7data

        print(f"dx7data {dx7data.__version__}")
        parser.exit()


def _render_options(render) -> None:
    render.add_argument("--out", type=Path, metavar="FOLDER", help="where the shards go")
    render.add_argument(
        "--plan", type=Path, metavar="FOLDER", help="render the plan in this folder, there or to --out; no other inputs"
    )
    part = render.add_mutually_exclusive_group()
    part.add_argument("--only", type=types.shard, metavar="SPLIT/N", help="this shard alone, as in train/000012")
    part.add_argument(
        "--job", type=types.job, metavar="K/N", help="the K-th of N jobs that share nothing; then `dx7data verify`"
    )
    _machine_options(render)
    render.add_argument("--overwrite", action="store_true", help="remove an earlier data set from the folder first")
    render.add_argument("--dry-run", action="store_true", help="say what would be made, and how long it would take")


def _machine_options(verb) -> None:
    verb.add_argument(
        "--workers", type=whole(1), metavar="N", help="processes (default: one for each core, up to 8 for each GPU)"
    )
    verb.add_argument(
        "--device",
        type=types.devices,
        default=("auto",),
        metavar="auto|cpu|cuda|cuda:N,...",
        help="what renders, always the same bytes (default: auto, a GPU that can, for an hour of clips or more)",
    )


def _plan_options(verb) -> None:
    _clip_options(verb)
    _patch_options(verb.add_argument_group("patches"))
    _phrase_options(
        verb.add_argument_group("phrases", "the filters, from --polyphony on, are for drawn phrases and for music")
    )


def _clip_options(render) -> None:
    count = render.add_mutually_exclusive_group()
    count.add_argument(
        "--samples", type=whole(1, 10**9), metavar="N", help="pairs in all (default: 100 for each patch, at least 1,000)"
    )
    count.add_argument("--per-patch", type=whole(1, 10**6), metavar="N", help="pairs for each target patch, instead")
    render.add_argument("--seconds", type=_SECONDS, default=2.5, help="length of a clip (default: 2.5)")
    render.add_argument("--sample-rate", type=int, default=8000, metavar="HZ", help=f"{_RATES} (default: 8000)")
    render.add_argument(
        "--prefix",
        nargs="+",
        default=["none"],
        metavar="none|bytes|fsk|reference",
        help="put the target patch before the source, as audio: levels, tones, an example, or several (default: none)",
    )
    render.add_argument(
        "--gain",
        type=types.gain,
        default="native",
        metavar="native|peak|DB",
        help="as is (default), to -1 dB, or by so many dB",
    )
    render.add_argument(
        "--split",
        type=types.split,
        default=(0.8, 0.1, 0.1),
        metavar="A,B,C",
        help="parts for train, val and test (default: 0.8,0.1,0.1)",
    )
    render.add_argument(
        "--split-by",
        choices=("patch", "phrase", "algorithm", "bank"),
        default="patch",
        help="what is in one part only; near-duplicates of a patch always are, but for 'phrase' (default: patch)",
    )
    render.add_argument("--seed", type=int, default=0, help="of all that is drawn (default: 0)")
    render.add_argument(
        "--shard-size",
        type=types.size,
        default=64_000_000,
        metavar="BYTES",
        help="about this much in a shard (default: 64MB)",
    )


def _patch_options(render) -> None:
    render.add_argument("--patches", nargs="+", metavar="PATH", help=".syx files, exports, folders, zips; 'example' is ours")
    render.add_argument("--report", type=Path, metavar="FILE", help="write what was found in patch and music files, as JSON")
    render.add_argument("--keep-silent", action="store_true", help="keep patches that are silent on notes 36, 60 and 84")
    render.add_argument(
        "--targets", nargs="+", default=["all"], metavar="PATCH", help="only these, by NAME or FILE:INDEX (default: all)"
    )
    render.add_argument(
        "--hold-out",
        type=Path,
        metavar="FILE",
        help="a list of patches, a line each, that go to test with their near-duplicates",
    )
    render.add_argument(
        "--dedupe",
        choices=("none", "bytes", "audible"),
        default="bytes",
        help="leave out patches with the same parameters (default), or all that sound the same, or none",
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
        help="every second sample repeats the one before it with one parameter changed; N versions of each patch (1)",
    )
    render.add_argument(
        "--perturb", type=whole(0, 10**6), default=0, metavar="N", help="add N mutations and crossovers of the patches"
    )
    render.add_argument(
        "--random-patches", type=whole(0, 10**6), default=0, metavar="N", help="add N voices drawn from all legal ones"
    )


def _phrase_options(render) -> None:
    render.add_argument(
        "--kinds",
        type=types.choices(*_KINDS),
        default=(),
        metavar="A,B,...",
        help=f"draw only phrases of these kinds, of {', '.join(_KINDS)} (default: all)",
    )
    music = render.add_mutually_exclusive_group()
    music.add_argument("--midi", nargs="+", metavar="PATH", help="MIDI files, folders and zips (default: phrases are drawn)")
    music.add_argument(
        "--phrases",
        type=Path,
        metavar="FILE",
        help="Parquet table with columns phrase_id, start_time, duration, note, velocity; times in seconds",
    )
    render.add_argument("--beats", type=whole(1, 1000), metavar="N", help="cut MIDI files every N beats, not every clip")
    render.add_argument(
        "--bpm", type=number(1, 1000, "beats a minute"), help="the times of the table are beats at this tempo"
    )
    render.add_argument("--polyphony", type=span(1, None), metavar="A..B", help="only phrases with so many notes at once")
    render.add_argument("--notes", type=span(1, None), metavar="A..B", help="only phrases with so many notes")
    render.add_argument("--pitch-range", type=span(0, 127), metavar="A..B", help="only phrases within these notes")
    render.add_argument("--velocity", type=span(1, 127), metavar="A..B", help="only phrases within these velocities")
    render.add_argument("--different-notes", type=whole(1, 128), metavar="N", help="only phrases with at least N pitches")
    render.add_argument(
        "--filled", type=number(0, 1), metavar="PART", help="only phrases that sound for this part of their length"
    )


def _verb(verbs, name: str, run, text: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False)
    parser.set_defaults(run=run)
    return parser
