"""Memory that is used again must never be that of an array which somebody still has."""

import gc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dx7data.engine import pool

SHAPES = [(2, 1 << 17), (3, 1 << 17), (1, 1 << 19), (2, 5)]


@given(st.lists(st.tuples(st.sampled_from(["make", "view", "drop"]), st.integers(0, 7)), max_size=40))
def test_arrays_in_use_share_no_memory(steps):
    """Whatever is made, viewed and dropped: what was written into an array stays there as long as anything refers to it."""
    held = []
    for number, (step, which) in enumerate(steps):
        if step == "make":
            array = pool.make_array(SHAPES[which % len(SHAPES)])
            array[:] = number
            held.append((array, number))
        elif held and step == "view":
            array, value = held[which % len(held)]
            held[which % len(held)] = array[..., 1:][::-1], value
        elif held:
            del held[which % len(held)]
            array = None
        assert all((kept == value).all() for kept, value in held)


def test_memory_is_used_again():
    first = pool.make_array(SHAPES[0])
    address = first.ctypes.data
    view = first[1:]
    del first
    gc.collect()
    assert pool.make_array(SHAPES[0]).ctypes.data != address
    pool._free.clear()
    del view
    gc.collect()
    again = pool.make_array(SHAPES[0])
    assert again.ctypes.data == address
    assert again.dtype == np.int32
    assert again.flags.writeable
    assert again.flags.c_contiguous
