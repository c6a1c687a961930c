"""Wav files against the standard library and soundfile."""

import io
import wave

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from dx7data.audio.wav import HEADER_BYTES, decode_wav, encode_header, encode_wav

AUDIO = st.lists(st.integers(-32768, 32767), max_size=50).map(lambda samples: np.array(samples, np.int16))


@given(AUDIO, st.sampled_from([8000, 11025, 48000]))
def test_both_ways(audio, rate):
    data = encode_wav(audio, rate)
    found, found_rate = decode_wav(data)
    assert decode_wav(io.BytesIO(data))[0].tolist() == audio.tolist()
    assert (found.tolist(), found_rate) == (audio.tolist(), rate)
    assert data[:HEADER_BYTES] == encode_header(audio.size, rate)
    expected = io.BytesIO()
    with wave.open(expected, "wb") as out:
        out.setparams((1, 2, rate, 0, "NONE", ""))
        out.writeframes(audio.tobytes())
    assert data == expected.getvalue()


def test_those_of_other_programs(tmp_path):
    audio = np.arange(-300, 300, dtype=np.int16)
    soundfile.write(tmp_path / "a.wav", audio, 22050, "PCM_16")
    found, rate = decode_wav((tmp_path / "a.wav").read_bytes())
    assert (found.tolist(), rate) == (audio.tolist(), 22050)


def test_what_is_refused(tmp_path):
    for name, samples, subtype in (("b.wav", np.zeros((9, 2)), "PCM_16"), ("c.wav", np.zeros(9), "PCM_24")):
        soundfile.write(tmp_path / name, samples, 8000, subtype)
        with pytest.raises(ValueError, match="mono with 16 bits"):
            decode_wav((tmp_path / name).read_bytes())
    for data in (b"", b"no wav", encode_wav(np.zeros(9, np.int16), 8000)[:20]):
        with pytest.raises(ValueError, match="no wav file"):
            decode_wav(data)
