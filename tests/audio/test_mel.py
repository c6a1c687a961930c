"""Mel spectrograms against torchaudio's, which the metrics of training use."""

import numpy as np
import pytest
import torch
import torchaudio

from dx7data.audio.mel import BANDS, compute_mel, make_filters

RATES = [8000, 11025, 16000, 22050, 48000]


@pytest.mark.parametrize("rate", RATES)
def test_the_spectrogram_is_that_of_torchaudio(rate):
    """Its filters end at the whole hertz; it has a column more."""
    audio = np.random.default_rng(rate).normal(0, 3000, 6000).astype(np.int16)
    ours = compute_mel(audio, rate, 400, -150)
    size = 1 << round(np.log2(0.064 * rate))
    theirs = torchaudio.transforms.MelSpectrogram(
        rate, size, hop_length=32, n_mels=BANDS, pad_mode="constant", normalized=False
    ).double()(torch.from_numpy(audio / 32768))
    expected = 10 * np.log10(theirs.numpy() / torch.hann_window(size, dtype=torch.float64).sum().item() ** 2 * 4 + 1e-15)
    assert expected.shape[1] == ours.shape[1] + (len(audio) % 32 == 0)
    np.testing.assert_allclose(ours, expected[:, : ours.shape[1]], rtol=0, atol=0.1 if rate % 2 else 2e-3)


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize(("size", "bands"), [(512, 42), (1024, 80)])
def test_the_filters_are_those_of_the_metrics(rate, size, bands):
    """train/evaluation/metrics.py asks for these."""
    expected = torchaudio.functional.melscale_fbanks(size // 2 + 1, 0.0, rate / 2, bands, rate)
    np.testing.assert_allclose(make_filters(size, rate, bands), expected.T, atol=1e-4)
