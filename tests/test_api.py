"""What `import dx7data` gives, and what it does not import."""

import re
import subprocess
import sys

import numpy as np
import pytest

import dx7data
from dx7data.errors import InputError
from dx7data.patches import bank


def test_names():
    assert set(dx7data.__all__) <= set(dir(dx7data))
    assert all(getattr(dx7data, name) is not None for name in dx7data.__all__)
    assert re.fullmatch(r"\d+\.\d+\.\d+", dx7data.__version__)
    with pytest.raises(AttributeError, match="no attribute 'bnak'"):
        dx7data.bnak  # noqa: B018


def test_importing_it_imports_nothing_else():
    script = "import sys, dx7data; print({'numpy', 'numba', 'pyarrow', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_patches_are_rendered():
    patches = dx7data.load_patches("example")
    assert (patches == bank.load_example().patches).all()
    audio = dx7data.render(dx7data.voices(patches, 60, 100, held=0.1, rate=44100), seconds=0.2)
    assert (audio.shape, audio.dtype) == ((32, 8820), np.int32)
    assert (dx7data.prefix.decode(dx7data.prefix.encode(patches[0], "bytes", 8000), "bytes", 8000) == patches[0]).all()
    with pytest.raises(InputError, match=r"no usable patch in nowhere\.syx"):
        dx7data.load_patches("nowhere.syx")
