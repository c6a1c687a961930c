"""A recording, from a file or a pipe, as a model hears it: mono int16 at the model's rate, a piece at a time."""

import re
import select
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
import soxr

from dx7data.errors import InputError
from dx7data.output import log
from models.mulaw import SILENT_PEAK

PIPE = Path("-")  # in place of a file: stdin, stdout
_RATES = (1000, 768_000)  # Hz of a recording; what says otherwise is damaged, and filters for it grow without limit
_CUT = re.compile(r"^data : (\d+) \(should be (\d+)\)$", re.MULTILINE)  # in what libsndfile says of a wav
_ENDLESS = 0x7FFF0000  # bytes: from here on a header is of a stream, whose length was not known
_MIN_SECONDS = 0.01  # as in `dx7data render`


def read_recording(path: Path, sample_rate: int, seconds: float = 0.1, raw: bool = False) -> Iterator[np.ndarray]:
    """int16 (T,) a piece of `seconds`: the mean of the channels, resampled, cut at full scale.

    What has 16 bits and the sample rate passes unchanged. raw: of a pipe, samples like these without a header. Raises
    InputError when it can't be read.
    """
    try:
        with open_sound(path, sample_rate if raw else None) as sound:
            own = sound.samplerate
            if not _RATES[0] <= own <= _RATES[1]:
                raise InputError(f"{path} says {own} Hz: rates from {_RATES[0]} to {_RATES[1]} can be resampled")
            # soxr, not torchaudio: it works piece by piece, and what would alias is 140 dB down where torchaudio's
            # default leaves 10 dB (4.2 kHz at 8 kHz).
            resampler = soxr.ResampleStream(own, sample_rate, 1, dtype="float64")
            frames, ended = max(1, round(seconds * own)), False
            while not ended:
                if path == PIPE:
                    select.select([sys.stdin], [], [])  # Ctrl-C ends this wait; it would not end libsndfile's
                block = sound.read(frames, always_2d=True)
                ended = not len(block)
                heard = resampler.resample_chunk(block.mean(axis=1), last=ended) * 32768
                if not np.isfinite(heard).all():
                    raise InputError(f"{path} holds values that are no numbers")
                if heard.size:
                    yield np.clip(np.rint(heard), -32768, 32767).astype(np.int16)
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror or error}") from None
    except soundfile.LibsndfileError as error:
        raw_too = ", nor a wav stream (--raw takes samples without a header)" if path == PIPE else ""
        raise InputError(f"{path} is no audio that can be read{raw_too}: {error.error_string}") from None


@contextmanager
def open_sound(path: Path, raw_rate: int | None) -> Iterator[soundfile.SoundFile]:
    """raw_rate: of a pipe without a header."""
    if path == PIPE:
        raw = {"samplerate": raw_rate, "channels": 1, "format": "RAW", "subtype": "PCM_16"} if raw_rate else {}
        with soundfile.SoundFile(sys.stdin.fileno(), closefd=False, **raw) as sound:
            yield sound
    else:
        # The descriptor, for Python prints a traceback where libsndfile reads through it and a damaged header leads nowhere.
        with open(path, "rb") as file, soundfile.SoundFile(file.fileno(), closefd=False) as sound:
            yield sound


class Heard:
    """A recording that passes by: how long it is, and whether there was enough to convert."""

    def __init__(self, path: Path, sample_rate: int):
        self.path, self.sample_rate = path, sample_rate
        self.length = 0

    def watch(self, pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The same pieces. Raises InputError after the last one if they are too short or silent."""
        peak = 0
        for piece in pieces:
            self.length += piece.size
            peak = max(peak, -int(piece.min()), int(piece.max()))
            yield piece
        seconds, rate = self.length / self.sample_rate, self.sample_rate
        if seconds < _MIN_SECONDS:
            raise InputError(f"{self.path} is too short: it has {seconds:.4f} s, the least is {_MIN_SECONDS} s")
        if peak <= SILENT_PEAK:
            raise InputError(
                f"{self.path} is silent: mono and at {rate} Hz its peak is {peak} of 32,768, too soft for the model"
            )


def check_length(path: Path, sample_rate: int) -> int:
    """L, found by reading the whole file. Says so if a wav is cut short. Raises InputError for too little to convert."""
    heard = Heard(path, sample_rate)
    for _ in heard.watch(read_recording(path, sample_rate)):
        pass
    with open_sound(path, None) as sound:
        cut = _CUT.search(sound.extra_info)
    if cut and int(cut[1]) < _ENDLESS:
        log.warning(f"{path} is cut short: its header promises {int(cut[1]):,} bytes of audio, and it has {int(cut[2]):,}")
    return heard.length
