"""`python -m train.convert`: a recording in, the same phrase in the voice of a patch out.

The model hears mono int16 audio at its own rate, as in training, after the prefix of the patch; it runs in float32, on a
chunk after another. Between chunks only its state is kept, so memory does not grow with the recording, and the result does
not depend on the chunks (to 1e-4 of the logits). Source and result may be pipes.
Shape letters: P samples of the prefix, L of the source, T of a chunk.
"""

import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from msgspec import Meta
from torch import Tensor

from dx7data import process
from dx7data.audio.wav import encode_header
from dx7data.errors import InputError
from dx7data.files import is_stream, open_output
from dx7data.output import log, print_result, progress_bar
from dx7data.patches import bank, sysex
from models.layers.s4d import cache_recurrences
from models.memory import out_of_memory
from models.model import Model
from models.mulaw import mu_law_encode, mu_law_table, to_int16
from train.arguments import choose_device
from train.data.example import NO_PREFIX, make_format
from train.data.recording import PIPE, Heard, check_length, read_recording
from train.evaluation.decode import Decoder, decode
from train.loop.mirror import read_run
from train.options import parse, setting
from train.releases.reader import load_one

# Seconds of a chunk. Of a live source it is the delay. The longer, the less time goes into starting each operation: on a CPU
# caches set the limit, on a GPU memory, of which 16 s take a few GB.
LIVE, CPU, CUDA = 0.064, 0.512, 16.0
_CHUNKS = (0.001, 600)  # seconds
_ENDLESS = 0x7FFFF000 // 2  # samples of a wav in a pipe, whose header comes before its length is known; as sox has it


@dataclass(frozen=True)
class ConvertOptions:
    """What is converted by which model, and how."""

    source: Path = setting(help="wav, flac, mp3, ...: any rate and channels; -: a wav from stdin", metavar="FILE")
    out: Path = setting(help="wav: 16 bits, mono, the model's rate; -: to stdout", metavar="FILE")
    checkpoint: Path | None = setting(None, "a run, or one of its checkpoints", metavar="FOLDER", kwargs={"type": read_run})
    pretrained: str | None = setting(
        None,
        "instead of --checkpoint: a model of the folder releases/, such as one-voice, or one in ./FOLDER",
        metavar="NAME",
    )
    patch: tuple[str, ...] = setting(
        (),
        "the voice, as in bank.syx:11 or example:11; several, which sound together, if the model was trained on such",
        metavar="FILE:INDEX",
        kwargs={"nargs": "+", "action": "extend"},
    )
    decode: Decoder | None = setting(
        None,
        "how a sample is made of the predicted distribution: its mean, which has the best SNR, its likeliest class, or a "
        "class drawn from it",
        shown="mean; of a pretrained model the one that its card names",
    )
    temperature: Annotated[float, Meta(ge=0, le=1e6)] | None = setting(
        None, "of --decode sample: draw by probabilities to the power of 1/T", metavar="T", shown="1"
    )
    seed: int = setting(0, "of what is drawn", metavar="N")
    chunk: str | None = setting(
        None,
        "how much is computed at once, such as 64ms or 2s: the delay of a live source; longer ones are faster",
        metavar="TIME",
        shown="64ms from a pipe, else 512ms, on a GPU 16s",
    )
    streaming: bool = setting(False, "chunks of 64ms, also from a file")
    raw: bool = setting(False, "what comes and goes through - has no header: 16 bits, mono, the model's rate")
    device: Literal["cpu", "cuda"] | None = setting(None, "where it is computed", shown="cuda if there is one")


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 0, 2 for a person's error, 130 for Ctrl-C."""

    def read_and_convert() -> None:
        what = "Plays a recording in the voice of a patch."
        convert(parse(ConvertOptions, sys.argv[1:] if argv is None else argv, "train.convert", what))

    return process.run("train.convert", read_and_convert, "stopped; no file was written")


def convert(options: ConvertOptions) -> None:
    """Convert one recording. Raises InputError."""
    try:
        _convert(options)
    except ImportError as error:  # kernels that are there and do not work
        raise InputError(str(error)) from None
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise InputError("memory is too small for such chunks: --chunk 64ms needs little") from None


def _convert(options: ConvertOptions) -> None:
    check_options(options)
    temperature = 1.0 if options.temperature is None else options.temperature
    device = choose_device(options.device)
    live = options.source == PIPE
    seconds = find_chunk(options.chunk, live or options.streaming, device)
    patches = [bank.pick(reference) for reference in options.patch]
    found = load_one(options.checkpoint, options.pretrained, device)
    model, settings, how = found.model, found.settings, options.decode or found.decode
    if options.temperature is not None and how != "sample":
        raise InputError("--temperature is only for --decode sample: leave it out, or ask for that")
    cache_recurrences(model)
    log.debug(f"{options.checkpoint or options.pretrained}: {settings.model_name} at step {found.step:,}, on {device}")
    rate = settings.sample_rate
    assert rate is not None  # a run has that of its shards
    prefix = encode_patches(patches, settings.prefix, found.layers, rate)
    length = None if live else check_length(options.source, rate)

    table, size, heard = mu_law_table(device), max(1, round(seconds * rate)), Heard(options.source, rate)
    source = heard.watch(read_recording(options.source, rate, seconds, options.raw))
    pieces = chain(cut([prefix], size), cut(map(torch.from_numpy, source), size))
    tokens = (mu_law_encode(piece.to(device), table) for piece in pieces)
    began = time.perf_counter()
    total = None if length is None else len(prefix) + length
    with progress_bar(total=total, unit="sample", unit_scale=True, delay=1) as bar:
        audio = decode_pieces(run(model, tokens), len(prefix), how, temperature, options.seed, bar.update)
        write(options.out, rate, length, audio, options.raw)
    took = time.perf_counter() - began
    lasts = heard.length / rate
    facts = {"file": str(options.out), "seconds": lasts, "sample_rate": rate, "took": took, "x_real_time": lasts / took}
    facts |= {"chunk_ms": 1000 * seconds, "decode": how, "device": device}
    print_result(facts, describe, options.out)


def describe(found: dict) -> list[str]:
    """The figures of a conversion in a sentence."""
    return [
        f"{found['file']}: {found['seconds']:.2f} s of audio at {found['sample_rate']} Hz in {found['took']:.2f} s, "
        f"{found['x_real_time']:.3g} x real time (chunks of {found['chunk_ms']:g} ms, {found['decode']}, {found['device']})"
    ]


def check_options(options: ConvertOptions) -> None:
    """Raises InputError for options that contradict each other."""
    if options.out != PIPE:
        if options.out.is_dir() or os.path.realpath(options.out) == os.path.realpath(options.source):
            what = "a folder" if options.out.is_dir() else "the source"
            raise InputError(f"--out {options.out} is {what}: name another file")
        if options.out.suffix.lower() != ".wav":
            raise InputError(f"--out {options.out}: only wav is written, so let its name end in .wav")
    if options.source != PIPE and is_stream(options.source):
        raise InputError(f"--source {options.source} is a pipe or a device: name it as --source - < {options.source}")
    if options.raw and PIPE not in (options.source, options.out):
        raise InputError("--raw is only for pipes: leave it out, or give - as --source or --out")


def find_chunk(text: str | None, live: bool, device: str) -> float:
    """Seconds of a chunk: what --chunk says, else what suits the source and the device. Raises InputError."""
    if text is None:
        return LIVE if live else CPU if device == "cpu" else CUDA
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)", text)
    if match:
        seconds = float(match[1]) / (1000 if match[2] == "ms" else 1)
        if _CHUNKS[0] <= seconds <= _CHUNKS[1]:
            return seconds
    raise InputError(f"--chunk {text} is no time from 1ms to 600s: 64ms and 0.5s are such")


def encode_patches(patches: list[np.ndarray], codec: str | None, places: int, sample_rate: int) -> Tensor:
    """The prefix, int16 (P,), with which a model that was trained so knows its voices. Raises InputError."""
    if codec is None:
        if patches:
            raise InputError("the model has no prefix, it plays the voice that it was trained on: leave out --patch")
        return NO_PREFIX
    wanted = "one, as in bank.syx:11 or example:11" if places == 1 else f"1 to {places}, as in bank.syx:11"
    if not patches:
        raise InputError(f"the model plays the voice that its prefix gives: add --patch with {wanted}")
    if len(patches) > places:
        raise InputError(f"--patch names {len(patches)} voices; the model was trained to hear {wanted}")
    return make_format(codec, places, sample_rate, 0, sample_rate, None).encode_prefix(
        b"".join(map(sysex.write_voice, patches))
    )


def cut(pieces: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    """The same samples in pieces of `size`; the last one may be shorter."""
    held: list[Tensor] = []
    for piece in pieces:
        held.append(piece)
        if sum(map(len, held)) >= size:
            *whole, rest = torch.cat(held).split(size)
            held = [rest]
            if len(rest) == size:
                whole, held = [*whole, rest], []
            yield from whole
    if held and len(rest := torch.cat(held)):
        yield rest


@torch.inference_mode()
def run(model: Model, tokens: Iterable[Tensor]) -> Iterator[Tensor]:
    """Logits (T, 256) of chunks of classes (T,), one after another; between them only the state is kept."""
    state = model.initial_state(1)
    for chunk in tokens:
        logits, state = model(chunk[None], state)
        yield logits[0]


def decode_pieces(
    logits: Iterable[Tensor], skipped: int, how: str, temperature: float, seed: int, advance: Callable[[int], Any]
) -> Iterator[np.ndarray]:
    """Audio, int16 (T,) a piece, of what comes after the first `skipped` positions. how: one of decode.DECODERS."""
    generator = torch.Generator().manual_seed(seed % 2**64)
    for piece in logits:
        audio = decode(piece[skipped:].float(), how, generator, temperature)
        skipped = max(0, skipped - len(piece))
        yield to_int16(audio).cpu().numpy()
        advance(len(piece))


def write(path: Path, sample_rate: int, length: int | None, pieces: Iterable[np.ndarray], raw: bool) -> None:
    """int16 pieces, `length` in all if that is known, to a wav file, whole or not at all, or to stdout as they come.

    raw: to stdout without a header. Raises InputError.
    """
    try:
        with open_output(path, (".wav",)) as file:
            headed, written = not (raw and path == PIPE), 0
            for piece in filter(len, pieces):
                if headed and not written:
                    file.write(encode_header(_ENDLESS if length is None else length, sample_rate))
                file.write(np.ascontiguousarray(piece, "<i2").data)
                written += len(piece)
                if path == PIPE:
                    file.flush()
            if length is None and path != PIPE and file.seekable():
                file.seek(0)
                file.write(encode_header(written, sample_rate))
    except BrokenPipeError:
        raise  # nobody listens any more: no error of ours
    except OSError as error:
        raise InputError(f"can't write {path}: {error.strerror or error}") from None


if __name__ == "__main__":
    process.run_main("train.convert", main)
