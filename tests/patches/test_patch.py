"""The stored patch against dexed-py as a black box, and the packed layout as a round trip."""

import numpy as np
import oracle
import pytest
from dexed import DexedSynth, Patch
from hypothesis import given, settings
from hypothesis import strategies as st

from dx7data.patches import patch


def arrays(size: int):
    return st.binary(min_size=size, max_size=size).map(lambda data: np.frombuffer(data, np.uint8))


def legal_patches(rng: np.random.Generator, count: int) -> np.ndarray:
    parameters = rng.integers(0, patch.MAXIMA.astype(int) + 1, (count, patch.PARAMETERS))
    return np.hstack([parameters, rng.integers(0, 128, (count, 10))]).astype(np.uint8)


@pytest.mark.parametrize(
    ("size", "legal", "oracle"),
    [
        (128, patch.legalize_packed, lambda data: Patch.from_packed(data.tobytes())),
        (155, patch.legalize_stored, lambda data: Patch.from_sysex(data.tobytes())),
        (155, patch.legalize_stored, Patch.from_raw),
    ],
)
def test_repair_is_dexeds(size, legal, oracle):
    rng = np.random.default_rng(1)
    data = np.vstack([rng.integers(0, top, (1000, size)) for top in (256, 128, 100)]).astype(np.uint8)
    expected = np.array([oracle(row).to_raw() for row in data])
    np.testing.assert_array_equal(legal(data)[0], expected)


@pytest.mark.parametrize("position", range(128))
def test_repair_of_every_packed_byte_value(position):
    data = np.zeros((256, 128), np.uint8)
    data[:, position] = np.arange(256)
    expected = np.array([Patch.from_packed(row.tobytes()).to_raw() for row in data])
    np.testing.assert_array_equal(patch.legalize_packed(data)[0], expected)


@given(arrays(155))
def test_stored_repair_names_what_it_changed(data):
    legal, changed = patch.legalize_stored(data)
    patch.require_legal(legal)
    np.testing.assert_array_equal(changed, legal[:145] != data[:145])
    again, nothing = patch.legalize_stored(legal)
    np.testing.assert_array_equal(again, legal)
    assert not nothing.any()


@given(arrays(128))
def test_packed_repair_names_what_it_changed(data):
    legal, changed = patch.legalize_packed(data)
    np.testing.assert_array_equal(changed, legal[:145] != patch.unpack(data)[:145])
    again, nothing = patch.legalize_packed(patch.pack(legal))
    np.testing.assert_array_equal(again, legal)
    assert not nothing.any()


def test_pack_and_unpack_are_inverse_and_dexeds():
    patches = legal_patches(np.random.default_rng(2), 500)
    packed = patch.pack(patches)
    np.testing.assert_array_equal(patch.unpack(packed), patches)
    for row, stored in zip(packed, patches, strict=True):
        assert Patch.from_raw(stored).to_packed() == row.tobytes()


@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (0,)])
def test_shapes(lead):
    packed = np.zeros((*lead, 128), np.uint8)
    assert patch.unpack(packed).shape == (*lead, 155)
    assert patch.pack(np.zeros((*lead, 155), np.uint8)).shape == (*lead, 128)
    legal, changed = patch.legalize_packed(packed)
    assert legal.shape == (*lead, 155)
    assert changed.shape == (*lead, 145)
    assert changed.dtype == bool


def test_wrong_arrays_are_refused():
    with pytest.raises(ValueError, match=r"uint8 of shape \(..., 128\), not int64"):
        patch.unpack(np.zeros(128, np.int64))
    with pytest.raises(ValueError, match=r"shape \(..., 155\)"):
        patch.pack(np.zeros((2, 128), np.uint8))


@pytest.mark.parametrize(("byte", "field"), [(20, "op6_detune"), (134, "algorithm"), (150, "the name")])
def test_pack_names_the_field_out_of_range(byte, field):
    wrong = patch.SINE.copy()
    wrong[byte] = 200
    with pytest.raises(ValueError, match=f"{field} is 200"):
        patch.pack(wrong)


def test_inputs_are_left_alone():
    data = np.full((2, 155), 255, np.uint8)
    patch.legalize_stored(data)
    patch.legalize_packed(packed := np.full((2, 128), 255, np.uint8))
    assert (data == 255).all()
    assert (packed == 255).all()


# Positions of engine-spec.md, "Stored voice".
@pytest.mark.parametrize(
    ("field", "byte"),
    [
        ("op6_eg_rate_1", 0),
        ("op5_break_point", 29),
        ("op1_output_level", 121),
        ("op1_detune", 125),
        ("pitch_eg_level_1", 130),
        ("algorithm", 134),
        ("lfo_speed", 137),
        ("lfo_wave", 142),
        ("pitch_mod_sensitivity", 143),
        ("transpose", 144),
    ],
)
def test_field_positions(field, byte):
    assert patch.FIELDS.index(field) == byte
    assert len(patch.FIELDS) == len(set(patch.FIELDS)) == len(patch.MAXIMA) == 145


def test_id_ignores_the_name_only():
    other = patch.SINE.copy()
    other[145:] = 65
    assert patch.patch_id(other) == patch.patch_id(patch.SINE)
    for byte in range(145):
        other = patch.SINE.copy()
        other[byte] ^= 1
        assert patch.patch_id(other) != patch.patch_id(patch.SINE)


def test_id_is_stable():  # ids are in data sets on people's disks
    assert patch.patch_id(patch.SINE_FLAT) == "95215b70cbb57608"


@settings(deadline=None)
@given(arrays(155))
def test_text_is_one_printable_line(data):
    name = patch.patch_name(data)
    assert name.isascii()
    assert name == "" or name.isprintable()
    assert name == name.rstrip()
    assert len(name) <= 10
    assert patch.summarize(patch.legalize_stored(data)[0]).isprintable()


@pytest.mark.parametrize(
    ("raw", "name"), [(b"E.PIANO 1 ", "E.PIANO 1"), (b"A\x00\x1b[2J\x7f\x80\xff ", "A??[2J???"), (b" " * 10, "")]
)
def test_names(raw, name):
    assert patch.patch_name(np.frombuffer(bytes(145) + raw, np.uint8)) == name


def test_summary_tells_what_acts():
    loud = patch.SINE.copy()
    assert "LFO" not in patch.summarize(loud)
    assert "algorithm 32" in patch.summarize(loud)
    loud[[139, 142, 144]] = 50, 4, 12  # pitch mod depth, wave, transpose
    assert patch.summarize(loud).endswith("transpose -12  LFO sine")


def test_dictionary_holds_every_stored_value():
    row = legal_patches(np.random.default_rng(3), 1)[0]
    fields = patch.to_dict(row)
    assert [operator["operator"] for operator in fields["operators"]] == [6, 5, 4, 3, 2, 1]
    values = [operator[name] for operator in fields["operators"] for name in patch.OPERATOR_FIELDS]
    assert values + [fields[name] for name in patch.COMMON_FIELDS] == row[:145].tolist()


def test_sine_is_one_plain_carrier():
    fields = patch.to_dict(patch.SINE_FLAT)
    patch.require_legal(patch.SINE_FLAT)
    assert (fields["name"], fields["algorithm"], fields["transpose"]) == ("PURE SINE", 31, 24)
    *silent, sounding = fields["operators"]
    assert all(operator["output_level"] == 0 for operator in silent)
    assert (sounding["output_level"], sounding["frequency_coarse"], sounding["frequency_fine"]) == (99, 1, 0)
    assert [sounding[f"eg_level_{i}"] for i in range(1, 5)] == [99, 99, 99, 0]
    assert sounding["key_velocity_sensitivity"] == sounding["amp_mod_sensitivity"] == sounding["oscillator_mode"] == 0
    assert sounding["detune"] == 7


def test_sine_is_heard_as_a_sine():
    synth, window = DexedSynth(44100), np.hanning(32768)
    synth.load_patch(Patch.from_raw(patch.SINE))
    spectrum = np.abs(np.fft.rfft(synth.render(69, 100, 1.0, 1.0)[4096 : 4096 + len(window)] * window))
    peak = spectrum.argmax()
    assert abs(peak * 44100 / len(window) - 440) < 2
    around = slice(peak - 4, peak + 5)
    assert np.delete(spectrum, np.arange(peak - 4, peak + 5)).max() < 0.003 * spectrum[around].max()


@oracle.needs_factory
def test_factory_banks_survive():
    for path in oracle.FACTORY:
        packed = np.frombuffer(path.read_bytes()[6:4102], np.uint8).reshape(32, 128)
        expected = [ours.to_raw() for ours in Patch.load_bank(str(path))]
        np.testing.assert_array_equal(patch.legalize_packed(packed)[0], expected)
