"""Metrics of predictions, one value for each clip. Audio is float in -1..1, (B, L); only the target region comes here."""

import math

import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor

from train.loss import NATS

RANKS = (1, 3, 5, 10)  # of accuracy
_SILENCE = 5 / 32768  # the largest int16 value in mu-law's two classes around zero; about -76 dB
_FLOOR = 1e-8  # power: -80 dB, about the noise of those two classes when they alternate at random (-81 dB)
_WINDOWS = (0.010, 0.025, 0.050)  # seconds: those of Parallel WaveGAN, which has 240, 600 and 1,200 samples at 24 kHz
_MEL_BANDS = 80


def bits_per_sample(logits: Tensor, classes: Tensor) -> Tensor:
    """Mean cross entropy in bits, (B,), of float32 logits (B, L, 256) with the classes that came (B, L).

    Uniform logits give 8; less means that something was learnt.
    """
    nats = F.cross_entropy(logits.flatten(0, 1), classes.flatten(), reduction="none")
    return nats.view(classes.shape).mean(1) / NATS


def accuracies(logits: Tensor, classes: Tensor) -> Tensor:
    """For each of RANKS the part of samples whose class is among so many likeliest ones, (B, len(RANKS))."""
    hits = logits.topk(max(RANKS)).indices == classes[..., None]
    return torch.stack([hits[..., :rank].any(-1).float().mean(1) for rank in RANKS], 1)


def snr_db(generated: Tensor, target: Tensor) -> Tensor:
    """Power of the target to power of the difference, in dB (B,). It says nothing where the target is `silent`.

    Mu-law limits it: a sine predicted without a fault gets 38 dB, one with an amplitude of 0.001 gets 21.
    """
    return 10 * (target.square().sum(1) / (generated - target).square().sum(1)).log10()


def multi_resolution_stft_distance(generated: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """Spectral convergence plus mean absolute difference of log magnitudes (nepers), averaged over three windows, (B,).

    The auxiliary loss of Yamamoto, Song and Kim, "Parallel WaveGAN" (ICASSP 2020), with their Hann windows of 10, 25 and
    50 ms at any rate, but no longer than the clip, steps of a fifth of a window, and the shortest FFT that holds it. Windows
    have unit energy; log magnitudes end at -80 dB. It says nothing where the target is `silent`.
    """
    distances = []
    for seconds in _WINDOWS:
        ours, theirs = (_magnitudes(audio, _sizes(seconds, sample_rate, audio.shape[1])) for audio in (generated, target))
        convergence = (ours - theirs).norm(dim=(1, 2)) / theirs.norm(dim=(1, 2))
        logs = [magnitudes.clamp(min=math.sqrt(_FLOOR)).log() for magnitudes in (ours, theirs)]
        distances.append(convergence + (logs[0] - logs[1]).abs().mean((1, 2)))
    return torch.stack(distances).mean(0)


def log_mel_distance(generated: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """Mean absolute difference in dB of mel spectrograms that end at -80 dB, (B,).

    torchaudio's MelSpectrogram (power, HTK scale, 0 Hz to half the rate): Hann windows of 50 ms and unit energy, steps of
    10 ms, 80 bands, 42 at 8 kHz; less of each where the clip is shorter than a window.
    """
    sizes = _sizes(_WINDOWS[-1], sample_rate, target.shape[1])
    bands = min(_MEL_BANDS, max(1, sizes["n_fft"] // 12))  # of more, the lowest would lie between two bins
    mel = torchaudio.transforms.MelSpectrogram(sample_rate, **sizes, n_mels=bands, normalized=True).to(target.device)
    ours, theirs = (10 * mel(audio).clamp(min=_FLOOR).log10() for audio in (generated, target))
    return (ours - theirs).abs().mean((1, 2))


def silent(target: Tensor) -> Tensor:
    """Which clips are silent, bool (B,): mu-law has but its two classes around zero for them.

    There is no signal then with which noise or spectra could be compared.
    """
    return target.abs().amax(1) <= _SILENCE


def _sizes(seconds: float, sample_rate: int, length: int) -> dict[str, int]:
    """Window, step and FFT in samples, as torchaudio names them."""
    window = min(round(seconds * sample_rate), length)
    return {"n_fft": 1 << (window - 1).bit_length(), "win_length": window, "hop_length": max(1, window // 5)}


def _magnitudes(audio: Tensor, sizes: dict[str, int]) -> Tensor:
    """Magnitude spectrogram (B, bins, frames); windows have unit energy, so that white noise has its power in each bin."""
    window = torch.hann_window(sizes["win_length"], device=audio.device)
    return torchaudio.functional.spectrogram(audio, 0, window, **sizes, power=1.0, normalized=True)
