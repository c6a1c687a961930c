"""Metrics of predictions, one value for each clip. Audio is float in -1..1, (B, L); only the target region comes here."""

import math

import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor

from models.mulaw import CLASSES, SILENT_PEAK, mu_law_decode, mu_law_encode, mu_law_table, to_int16
from train.evaluation.loss import NATS

RANKS = (1, 3, 5, 10)  # of accuracy
_FLOOR = 1e-8  # power: -80 dB, about the noise of mu-law's two classes around zero that alternate at random (-81 dB)
_WINDOWS = (0.010, 0.025, 0.050)  # seconds: those of Parallel WaveGAN, which has 240, 600 and 1,200 samples at 24 kHz
_MEL_BANDS = 80
_MARGIN = 10**0.6  # 6 dB: how far above the mean of mu-law's noise a band must be to count


def bits_per_sample(logits: Tensor, classes: Tensor) -> Tensor:
    """Mean cross entropy in bits, (B,), of float32 logits (B, L, 256) with the classes that came (B, L).

    Uniform logits give 8; less means that something was learnt.
    """
    nats = F.cross_entropy(logits.flatten(0, 1), classes.flatten(), reduction="none")
    return nats.view(classes.shape).mean(1) / NATS


def accuracies(logits: Tensor, classes: Tensor) -> Tensor:
    """For each of RANKS the part of samples whose class is among that many likeliest ones, (B, len(RANKS))."""
    hits = logits.topk(max(RANKS)).indices == classes[..., None]
    return torch.stack([hits[..., :rank].any(-1).float().mean(1) for rank in RANKS], 1)


def snr_db(generated: Tensor, target: Tensor) -> Tensor:
    """Power of the target to power of the difference, in dB (B,). It says nothing where the target is silent (`is_silent`).

    Mu-law limits it: a sine predicted without a fault gets 38 dB, one with an amplitude of 0.001 gets 21.
    """
    return 10 * (target.square().sum(1) / (generated - target).square().sum(1)).log10()


def multi_resolution_stft_distance(generated: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """Spectral convergence plus mean absolute difference of log magnitudes (nepers), averaged over three windows, (B,).

    The auxiliary loss of Yamamoto, Song and Kim, "Parallel WaveGAN" (ICASSP 2020), with their Hann windows of 10, 25 and
    50 ms at any rate, but no longer than the clip, steps of a fifth of a window, and the shortest FFT that holds it. Windows
    have unit energy; log magnitudes end at -80 dB. It says nothing where the target is silent (`is_silent`).

    On the clips of `log_mel_distance`: the target through mu-law 0.4, one class beside it 1.0; with noise 30, 20, 15, 10 dB
    below it 1.1, 1.9, 2.4, 3.0; half as loud 0.9; silence 2.5. It has no upper end: their sources, which are louder, 28.
    """
    distances = []
    for seconds in _WINDOWS:
        ours, theirs = (_magnitudes(audio, _sizes(seconds, sample_rate, audio.shape[1])) for audio in (generated, target))
        convergence = (ours - theirs).norm(dim=(1, 2)) / theirs.norm(dim=(1, 2))
        logs = [magnitudes.clamp(min=math.sqrt(_FLOOR)).log() for magnitudes in (ours, theirs)]
        distances.append(convergence + (logs[0] - logs[1]).abs().mean((1, 2)))
    return torch.stack(distances).mean(0)


def log_mel_distance(generated: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """Mean absolute difference in dB of mel spectrograms, over all that lies above mu-law's noise in one of them, (B,).

    Mel spectrograms as torchaudio's (power, HTK scale, 0 Hz to half the rate): Hann windows of 50 ms and unit energy, steps
    of 10 ms, 80 bands, 42 at 8 kHz; less of each where the clip is shorter than a window. Levels are raised to a floor, 6 dB
    above the quantiser's noise in this frame: what it has in the band or, if that is more, would have if it were white; but
    to -80 dB at least. The noise is what the target loses on its way to mu-law and back. Without the floor that noise, in
    bands that are empty in the target, is most of the distance.

    126 crops of 0.5 s, example bank, 8 kHz, each through mu-law: the target 0.3, one class beside it 2.0; with white noise
    30, 20, 15, 10 dB below it 4, 8, 12, 15; half as loud 5.5; its source 17; silence 22.
    """
    sizes = _sizes(_WINDOWS[-1], sample_rate, target.shape[1])
    bands = min(_MEL_BANDS, max(1, sizes["n_fft"] // 12))  # of more, the lowest would lie between two bins
    bank = torchaudio.functional.melscale_fbanks(sizes["n_fft"] // 2 + 1, 0.0, sample_rate / 2, bands, sample_rate)
    bank = bank.T.to(target.device)
    noise = _magnitudes(through_mu_law(target) - target, sizes).square()
    white = bank.sum(1)[:, None] * noise.mean(1, keepdim=True)
    floor = (_MARGIN * torch.maximum(bank @ noise, white)).clamp(min=_FLOOR)
    ours, theirs = (torch.maximum(bank @ _magnitudes(audio, sizes).square(), floor) for audio in (generated, target))
    counted = (torch.maximum(ours, theirs) > floor).sum((1, 2)).clamp(min=1)
    return (10 * (ours / theirs).log10()).abs().sum((1, 2)) / counted


def through_mu_law(audio: Tensor) -> Tensor:
    """float32 audio in -1..1 as it comes back from 256 classes: the best that a model without a fault can do."""
    return mu_law_decode(mu_law_encode(to_int16(audio), mu_law_table(audio.device)))


def order0_bits(classes: Tensor) -> Tensor:
    """Bits a sample of each clip, (B,), when all clips' classes (B, L) together are known by their frequencies alone.

    Their mean is the entropy of the classes. No model without a context does better on these clips, whatever it was
    trained on, so it is a fair floor: who knows less than this has learnt nothing of what is heard.
    """
    counts = torch.bincount(classes.flatten(), minlength=CLASSES).double()
    return -(counts / counts.sum()).log2()[classes].mean(1)


def conditional_bits(classes: Tensor, given: Tensor) -> Tensor:
    """The same, (B,), when the frequencies for each class (B, L) at the same place of another signal are known.

    Their mean is the conditional entropy of what was counted. It is too low where little was counted: by about the number
    of different pairs over 1.4 times the number of samples, 0.06 bits with 64 clips of 0.5 s at 8 kHz.
    """
    pairs = given * CLASSES + classes
    counts = torch.bincount(pairs.flatten(), minlength=CLASSES**2).double().view(CLASSES, CLASSES)
    return -(counts / counts.sum(1, keepdim=True)).log2().flatten()[pairs].mean(1)


def is_silent(target: Tensor) -> Tensor:
    """Which clips are silent, bool (B,): mu-law has but its two classes around zero for them.

    There is no signal then with which noise or spectra could be compared.
    """
    return target.abs().amax(1) <= SILENT_PEAK / 32768


def _sizes(seconds: float, sample_rate: int, length: int) -> dict[str, int]:
    """Window, step and FFT in samples, as torchaudio names them."""
    window = min(round(seconds * sample_rate), length)
    return {"n_fft": 1 << (window - 1).bit_length(), "win_length": window, "hop_length": max(1, window // 5)}


def _magnitudes(audio: Tensor, sizes: dict[str, int]) -> Tensor:
    """Magnitude spectrogram (B, bins, frames); windows have unit energy, so that white noise has its power in each bin."""
    window = torch.hann_window(sizes["win_length"], device=audio.device)
    return torchaudio.functional.spectrogram(audio, 0, window, **sizes, power=1.0, normalized=True)
