"""The operator's two look-ups as polynomials, for the CPU: a vector register computes faster than it looks up.

The integers are those of tables.py, each of them: a linear programme chose the coefficients so that every entry keeps as far
from the next integer as it can (at least 0.0001, which float32 rounds well within), and a test compares all entries.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_i32, _f32 = np.int32, np.float32
_intrinsic: Any = intrinsic  # its types know nothing of the first argument, which numba gives

# 1/1024 octave, as the logarithm of the sine is; its exponent, see below, counts from 127, and its scale from 2^-21.
BIAS = _i32((127 + 21) * 1024)
_SINE = tuple(map(_f32, (782.33105, -985.0072, 328.47894, -144.53203, 67.81241, -45.960785, 37.893173)))
_BEND = tuple(map(_f32, (-8.794305e-05, 6.884844e-13)))
_EXPONENTIAL = tuple(map(_f32, (0.5533329, 2.7714539, 0.0009448737, 1.965694e-07, 5.1004225e-11)))


@_intrinsic
def _multiply_add(_: Any, a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    """a * b + c, rounded once, float32: on every machine the same. numba has no name for it."""
    return types.float32(types.float32, types.float32, types.float32), lambda _, builder, __, given: builder.fma(*given)


@_intrinsic
def _truncate(_: Any, a: Any) -> tuple[Any, Any]:
    """float32 to int32, towards zero. numba's own goes by way of 64 bits, which halves the lanes of a register."""
    return types.int32(types.float32), lambda _, builder, __, given: builder.fptosi(given[0], ir.IntType(32))


@_intrinsic
def _as_bits(_: Any, a: Any) -> tuple[Any, Any]:
    return types.int32(types.float32), lambda _, builder, __, given: builder.bitcast(given[0], ir.IntType(32))


@_intrinsic
def _as_float(_: Any, a: Any) -> tuple[Any, Any]:
    return types.float32(types.int32), lambda _, builder, __, given: builder.bitcast(given[0], ir.FloatType())


@_intrinsic
def use_wide_registers(_: Any) -> tuple[Any, Any]:
    """Called first in a function: its vectors are as wide as the registers are.

    LLVM takes half of them on Intel's servers, the first of which lowered their clock for all: 12 % more time for a render.
    """

    def generate(context: Any, builder: Any, *_: Any) -> Any:
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')  # llvmlite knows only those without a value
        return context.get_dummy_value()

    return types.void(), generate


@njit(inline="always")
def compute_log_sine(index: np.int32) -> np.int32:
    """Attenuation in 1/1024 octave of a sine, less BIAS: 0 at the crest, 5,298 beside the zero. `index`: 1/4096 period.

    At a part v of half a period, sin(pi v) is v (1 - v) times a factor from 3.1 to 4 that bends little. So the logarithm is
    that of the product, from its exponent and a polynomial of its mantissa, plus a polynomial of the product itself.
    """
    s, bend = _SINE, _BEND
    odd = _multiply_add(_f32(_i32(index & _i32(2047))), _f32(2), _f32(1))  # 4096 v
    product = _f32(odd * _f32(_f32(4096) - odd))  # 4095 to 2^22: exact
    bits = _as_bits(product)
    mantissa = _f32(_as_float(_i32(_i32(bits & _i32(0x7FFFFF)) | _i32(0x3F800000))) - _f32(1.5))  # -0.5 to 0.5
    p = _multiply_add(_multiply_add(s[6], mantissa, s[5]), mantissa, s[4])
    p = _multiply_add(_multiply_add(_multiply_add(p, mantissa, s[3]), mantissa, s[2]), mantissa, s[1])
    p = _multiply_add(p, mantissa, _multiply_add(_multiply_add(bend[1], product, bend[0]), product, s[0]))
    return _i32(_truncate(p) - _i32(_i32(bits >> _i32(13)) & _i32(-1024)))


@njit(inline="always")
def compute_sample(attenuation: np.int32, sign: np.int32) -> np.int32:
    """One sample, -8187 to 8186, of an attenuation in 1/1024 octave; `sign`: -1 in a negative half period, else 0."""
    e = _EXPONENTIAL
    x = _f32(_i32(_i32(~attenuation) & _i32(1023)))
    p = _multiply_add(_multiply_add(_multiply_add(_multiply_add(e[4], x, e[3]), x, e[2]), x, e[1]), x, e[0])
    return np.right_shift(_i32(_i32(_truncate(p) + _i32(4096)) ^ sign), _i32(attenuation >> _i32(10)))  # as in operators.py


@njit(inline="always")
def find_sign(index: np.int32) -> np.int32:
    """-1 in the negative half of a period of 4096, 0 in the other."""
    return _i32(_i32(index << _i32(20)) >> _i32(31))


@njit(inline="always")
def oscillate(index: np.int32, attenuation: np.int32) -> np.int32:
    """As operators.oscillate, without tables."""
    return compute_sample(_i32(compute_log_sine(index) + _i32(attenuation + BIAS)), find_sign(index))
