"""`dx7data wav`: one note of one patch, to listen to."""

from argparse import Namespace
from pathlib import Path

from dx7data.cli import types
from dx7data.cli.inputs import announce_compilation, check_rate
from dx7data.cli.planning import RATES, SECONDS
from dx7data.cli.types import whole
from dx7data.cli.verb import Verbs, add_verb
from dx7data.errors import InputError, explain_os_errors
from dx7data.output import format_count, print_result


def add_to(verbs: Verbs) -> None:
    wav = add_verb(verbs, "wav", run, "render one note of a patch to a wav file")
    wav.add_argument("--patch", required=True, metavar="FILE:INDEX", help="as in bank.syx:11; voices count from 1")
    wav.add_argument("--note", type=whole(0, 127), default=60, help="MIDI note (default: 60, middle C)")
    wav.add_argument("--velocity", type=whole(1, 127), default=100, help="default: 100")
    wav.add_argument("--held", type=SECONDS, default=1.0, help="seconds until the key is released (default: 1)")
    wav.add_argument("--seconds", type=SECONDS, default=2.5, help="length (default: 2.5)")
    wav.add_argument("--sample-rate", type=int, default=48000, metavar="HZ", help=f"{RATES} (default: 48000)")
    wav.add_argument(
        "--gain", type=types.gain, default="peak", metavar="native|peak|DB", help="default: peak, -1 dB of full scale"
    )
    wav.add_argument("--out", type=types.path, default=Path("patch.wav"), help="default: patch.wav; - is stdout")


def run(options: Namespace) -> None:
    from dx7data.audio import gain
    from dx7data.audio.resample import decimate
    from dx7data.audio.wav import encode_wav
    from dx7data.engine.render import render
    from dx7data.engine.voice import voices
    from dx7data.files import is_stream, write_output
    from dx7data.patches import bank, patch

    rate = check_rate(options.sample_rate)
    if not is_stream(options.out) and options.out.suffix.lower() != ".wav":
        raise InputError(f"--out {options.out}: only wav is written, so let its name end in .wav")
    each = bank.pick(options.patch)
    announce_compilation()
    native = render(voices(each, options.note, options.velocity, options.held, rate), options.seconds)
    native = decimate(native, options.sample_rate)
    clip, factor, peak, cut = (each[0] for each in gain.apply(native, options.gain))
    with explain_os_errors(f"can't write {options.out}"):
        write_output(options.out, (".wav",), lambda file: file.write(encode_wav(clip, options.sample_rate)))
    found = {
        "file": str(options.out),
        "patch": patch.patch_name(each),
        "note": options.note,
        "seconds": options.seconds,
        "sample_rate": options.sample_rate,
        "gain": round(factor / gain.ONE, 4),
        "peak": int(peak),
        "clipped": int(cut),
    }
    print_result(found, _describe, options.out)


def _describe(found: dict) -> list[str]:
    return [
        f"{found['file']}: {found['patch']}, note {found['note']}, {found['seconds']:g} s at {found['sample_rate']} Hz, "
        f"gain {found['gain']:.2f}, peak {found['peak']:,}"
        + (f", clipped {format_count(found['clipped'], 'sample')}" if found["clipped"] else "")
    ]
