"""mulaw.py against torchaudio, which the models use."""

import numpy as np
import torch

from dx7data.audio import mulaw
from models.mulaw import mu_law_decode, mu_law_table, to_int16

EVERY = np.arange(-32768, 32768).astype(np.int16)


def test_classes_are_the_models():
    assert (mulaw.encode(EVERY) == mu_law_table().numpy()).all()


def test_levels_are_the_models():
    assert (mulaw.decode(np.arange(256)) == to_int16(mu_law_decode(torch.arange(256))).numpy()).all()


def test_noise_is_that_of_a_round_trip():
    clips = np.random.default_rng(0).integers(-32768, 32768, (3, 500)).astype(np.int16)
    again = to_int16(mu_law_decode(mu_law_table()[clips.astype(int) + 32768])).numpy()
    assert mulaw.measure_noise(clips).tolist() == ((again.astype(int) - clips) ** 2).sum(1).tolist()
