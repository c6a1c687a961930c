"""`python -m train.convert`: a recording in, the same phrase in the voice of a patch out.

The model hears mono int16 audio at its own rate, as in training, after the prefix of the patch; it runs in float32. It is
given everything at once or, in constant memory, one sample after another: the logits are the same within 1e-3.
Shape letters: P samples of the prefix, L of the source, T of a piece.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import soundfile
import soxr
import torch
from msgspec import Meta
from torch import Tensor
from tqdm import tqdm

from dx7data import process
from dx7data.audio.wav import write_wav
from dx7data.errors import InputError
from dx7data.files import open_output
from dx7data.patches import bank, sysex
from models.layers.s4d import cache_recurrences
from models.memory import out_of_memory
from models.model import Model
from models.mulaw import SILENT_PEAK, mu_law_encode, mu_law_table, to_int16
from train.data.example import NO_PREFIX, make_format
from train.evaluation.decode import Decoder, decode
from train.loop.checkpoint_reader import load_model
from train.loop.mirror import read_run
from train.options import parse, setting

PARALLEL_STEPS = 1 << 19  # P + L, 65 s at 8 kHz; `forward` takes 1.7 GB for so many with s4 of size base, mamba2 some 5
PIECE = 256  # samples between two moves of the progress bar
_READ = 4096  # frames of the recording at a time
_RATES = (1000, 768_000)  # Hz of a recording; what says otherwise is damaged, and filters for it grow without limit
_MIN_SECONDS = 0.01  # as in `dx7data render`


@dataclass(frozen=True)
class ConvertOptions:
    """What is converted by which model, and how."""

    checkpoint: Path = setting(help="a run, or one of its checkpoints", metavar="FOLDER", kwargs={"type": read_run})
    source: Path = setting(help="wav, flac, mp3, ...: any rate and channels", metavar="FILE")
    out: Path = setting(help="wav: 16 bits, mono, the model's rate", metavar="FILE")
    patch: tuple[str, ...] = setting(
        (),
        "the voice, as in bank.syx:11 or example:11; several, which sound together, if the model was trained on such",
        metavar="FILE:INDEX",
        kwargs={"nargs": "+", "action": "extend"},
    )
    decode: Decoder = setting(
        "mean",
        "what each sample becomes: the mean of what the model holds possible, which has the best SNR, the likeliest class, "
        "or one that is drawn",
    )
    temperature: Annotated[float, Meta(ge=0, le=1e6)] | None = setting(
        None, "of --decode sample: draw by probabilities to the power of 1/T", metavar="T", shown="1"
    )
    seed: int = setting(0, "of what is drawn", metavar="N")
    streaming: bool = setting(False, "one sample after another, in constant memory")
    device: Literal["cpu", "cuda"] | None = setting(None, "where it is computed", shown="cuda if there is one")


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 0, 2 for a person's error, 130 for Ctrl-C."""

    def read_and_convert() -> None:
        what = "Plays a recording in the voice of a patch."
        convert(parse(ConvertOptions, sys.argv[1:] if argv is None else argv, "train.convert", what))

    return process.run("train.convert", read_and_convert, "stopped; nothing was written")


def convert(options: ConvertOptions) -> None:
    """Convert one recording. Raises InputError."""
    try:
        _convert(options)
    except ImportError as error:  # kernels that are there and do not work
        raise InputError(str(error)) from None
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise InputError("memory is too small for all of it at once: --streaming needs little") from None


def _convert(options: ConvertOptions) -> None:
    if options.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch finds no GPU here; --device cpu works everywhere")
    if options.out.is_dir() or options.out.resolve() == options.source.resolve():
        raise InputError(f"--out {options.out} is {'a folder' if options.out.is_dir() else 'the source'}: name another file")
    if options.out.suffix.lower() != ".wav":
        raise InputError(f"--out {options.out}: only wav is written, so let its name end in .wav")
    if options.temperature is not None and options.decode != "sample":
        raise InputError("--temperature is of what is drawn: leave it out, or ask for --decode sample")
    temperature = 1.0 if options.temperature is None else options.temperature
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    patches = [bank.pick(reference) for reference in options.patch]
    model, settings, meta = load_model(options.checkpoint, device=device)
    cache_recurrences(model)
    rate = settings.sample_rate
    assert rate is not None  # a run has that of its shards
    prefix = encode_patches(patches, settings.prefix, meta["layers"], rate)
    length = check_length(options.source, rate)

    streaming = options.streaming or len(prefix) + length > PARALLEL_STEPS
    if streaming and not options.streaming:
        print(f"{options.source} is too long to be converted at once: it is streamed", file=sys.stderr)
    table = mu_law_table(device)
    pieces = chain(filter(len, [prefix]), map(torch.from_numpy, read_recording(options.source, rate)))
    tokens = (mu_law_encode(part.to(device), table) for piece in pieces for part in piece.split(PIECE))
    began = time.perf_counter()
    with tqdm(total=len(prefix) + length, unit="sample", unit_scale=True, delay=1) as bar:
        logits = (stream if streaming else compute)(model, tokens)
        audio = decode_pieces(logits, len(prefix), options.decode, temperature, options.seed, bar.update)
        write(options.out, rate, length, audio)
    took = time.perf_counter() - began
    how = "streaming" if streaming else "parallel"
    print(
        f"{options.out}: {length / rate:.2f} s of audio at {rate} Hz in {took:.2f} s, "
        f"{length / rate / took:.3g} x real time ({how}, {options.decode}, {device})"
    )


def encode_patches(patches: list[np.ndarray], codec: str | None, places: int, sample_rate: int) -> Tensor:
    """The prefix, int16 (P,), with which a model that was trained so knows its voices. Raises InputError."""
    if codec is None:
        if patches:
            raise InputError("the model has no prefix, it plays the voice that it was trained on: leave out --patch")
        return NO_PREFIX
    if not 1 <= len(patches) <= places:
        wanted = "one, as in bank.syx:11 or example:11" if places == 1 else f"from 1 to {places}"
        raise InputError(f"--patch names {len(patches)} voices; the model was trained to hear {wanted}")
    return make_format(codec, places, sample_rate, 0, sample_rate, None).encode_prefix(
        b"".join(map(sysex.write_voice, patches))
    )


def read_recording(path: Path, sample_rate: int) -> Iterator[np.ndarray]:
    """What the model hears of a file, int16 (T,) a piece: the mean of its channels, resampled, cut at full scale.

    A file of 16 bits at the sample rate passes unchanged. Raises InputError when it can't be read.
    """
    try:
        with open(path, "rb") as file, soundfile.SoundFile(file) as sound:
            own = sound.samplerate
            if not _RATES[0] <= own <= _RATES[1]:
                raise InputError(f"{path} says {own} Hz: rates from {_RATES[0]} to {_RATES[1]} can be resampled")
            # soxr, not torchaudio: it works piece by piece, and what would alias is 140 dB down where torchaudio's
            # default leaves 10 dB (4.2 kHz at 8 kHz).
            resampler = soxr.ResampleStream(own, sample_rate, 1, dtype="float64")
            ended = False
            while not ended:
                block = sound.read(_READ, always_2d=True)
                ended = not len(block)
                heard = resampler.resample_chunk(block.mean(axis=1), last=ended) * 32768
                if not np.isfinite(heard).all():
                    raise InputError(f"{path} holds values that are no numbers")
                if heard.size:
                    yield np.clip(np.rint(heard), -32768, 32767).astype(np.int16)
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror or error}") from None
    except soundfile.LibsndfileError as error:
        raise InputError(f"{path} is no audio that can be read: {error.error_string}") from None


def check_length(path: Path, sample_rate: int) -> int:
    """L, found by reading the whole file. Raises InputError when there is too little to convert."""
    length = peak = 0
    for piece in read_recording(path, sample_rate):
        length += piece.size
        peak = max(peak, -int(piece.min()), int(piece.max()))
    if length < _MIN_SECONDS * sample_rate:
        raise InputError(f"{path} is too short: it has {length / sample_rate:.4f} s, the least is {_MIN_SECONDS} s")
    if peak <= SILENT_PEAK:
        raise InputError(
            f"{path} is silent: mono and at {sample_rate} Hz its peak is {peak} of 32,768, too soft for the model"
        )
    return length


@torch.inference_mode()
def compute(model: Model, tokens: Iterable[Tensor]) -> Iterator[Tensor]:
    """Logits (T, 256) of pieces of classes (T,), prefix and source, all computed at once."""
    yield from model(torch.cat(list(tokens))[None])[0].split(PIECE)


@torch.inference_mode()
def stream(model: Model, tokens: Iterable[Tensor]) -> Iterator[Tensor]:
    """The same logits, computed one after another; between them only the state is kept."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a step is too small to share: two threads took twice the CPU time, for the same wall time
    try:
        state = model.initial_state(1)
        for piece in tokens:
            outputs = []
            for token in piece.split(1):
                logits, state = model.step(token, state)
                outputs.append(logits)
            yield torch.cat(outputs)
    finally:
        torch.set_num_threads(threads)


def decode_pieces(
    logits: Iterable[Tensor], skipped: int, how: str, temperature: float, seed: int, advance: Callable[[int], Any]
) -> Iterator[np.ndarray]:
    """Audio, int16 (T,) a piece, of what comes after the first `skipped` positions. how: one of decode.DECODERS."""
    generator = torch.Generator().manual_seed(seed % 2**64)
    for piece in logits:
        heard = piece[skipped:].float().cpu()
        skipped = max(0, skipped - len(piece))
        yield to_int16(decode(heard, how, generator, temperature)).numpy()
        advance(len(piece))


def write(path: Path, sample_rate: int, length: int, pieces: Iterable[np.ndarray]) -> None:
    """A mono wav file of int16 pieces, whole or not at all. Raises InputError."""
    try:
        with open_output(path) as file:
            write_wav(file, pieces, length, sample_rate)
    except OSError as error:
        raise InputError(f"can't write {path}: {error.strerror or error}") from None


if __name__ == "__main__":
    process.run_main("train.convert", main)
