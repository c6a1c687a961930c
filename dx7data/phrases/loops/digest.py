"""The ids of phrases: as phrase.Phrase.id, the first bytes of the SHA-256 of their notes and events as canonical JSON.

Written out here, for a call of hashlib needs Python's lock, and takes longer than the hash of so few bytes. Texts are hashed
eight at a time, in the lanes of vector registers.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from dx7data.cache import inner

BLOCK = 64  # bytes
_WORDS = 16  # of a block
_LANES = 8


def _take_root(prime: int, power: int) -> int:
    """The first 32 bits behind the point of the square or cube root of a prime (FIPS 180-4, 4.2.2 and 5.3.3)."""
    root = 0
    for bit in reversed(range(40)):
        if (root | 1 << bit) ** power <= prime << 32 * power:
            root |= 1 << bit
    return root & 0xFFFFFFFF


_PRIMES = [n for n in range(2, 312) if all(n % m for m in range(2, n))]
_ROUNDS = [_take_root(prime, 3) for prime in _PRIMES]
_INITIAL = np.array([_take_root(prime, 2) for prime in _PRIMES[:8]], np.uint32)

_u64 = np.uint64  # as an index: spares numba the test for negative ones, which would keep a loop from vectorising

# The four digits of each number below 10,000.
_DIGITS = np.array([list(b"%04d" % number) for number in range(10_000)], np.uint8)


@intrinsic
def _mix_blocks(typing_context: Any, state: Any, block: Any) -> tuple:
    """Update the states, uint32 (8, LANES), with a block each, uint32 (16, LANES), of words as they lie in memory.

    As LLVM's instructions for vectors: numba makes no vectors of a loop over lanes with so many arrays.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(ir.IntType(32), _LANES)

        def constant(value: int) -> ir.Constant:
            return ir.Constant(vector, [value] * _LANES)

        def row(which: int, i: int) -> Any:
            array = make_array(signature.args[which])(context, builder, arguments[which])
            pointer = builder.gep(array.data, [cgutils.intp_t(i * _LANES)])
            return builder.bitcast(pointer, vector.as_pointer())

        def add(*terms: Any) -> Any:
            total = terms[0]
            for term in terms[1:]:
                total = builder.add(total, term)
            return total

        def mix(word: Any, *steps: int) -> Any:
            """The word rotated right by each of the steps, and shifted by the last one if that is negative."""
            turned = None
            for step in steps:
                one = builder.lshr(word, constant(abs(step)))
                if step > 0:
                    one = builder.or_(one, builder.shl(word, constant(32 - step)))
                turned = one if turned is None else builder.xor(turned, one)
            return turned

        def swap(word: Any) -> Any:
            """The bytes of a big-endian word in the order of this machine."""
            byte = constant(0xFF)
            middle = builder.or_(
                builder.shl(builder.and_(builder.lshr(word, constant(8)), byte), constant(16)),
                builder.shl(builder.and_(builder.lshr(word, constant(16)), byte), constant(8)),
            )
            outer = builder.or_(builder.shl(word, constant(24)), builder.lshr(word, constant(24)))
            return builder.or_(outer, middle)

        words = [swap(builder.load(row(1, i), align=4)) for i in range(_WORDS)]
        first = [builder.load(row(0, i), align=4) for i in range(8)]
        a, b, c, d, e, f, g, h = first
        for i, number in enumerate(_ROUNDS):
            if i >= _WORDS:
                low, high = mix(words[i - 15], 7, 18, -3), mix(words[i - 2], 17, 19, -10)
                words.append(add(words[i - 16], low, words[i - 7], high))
            choice = builder.xor(g, builder.and_(e, builder.xor(f, g)))
            majority = builder.or_(builder.and_(a, b), builder.and_(c, builder.or_(a, b)))
            added = add(h, mix(e, 6, 11, 25), choice, constant(number), words[i])
            h, g, f, e, d, c, b, a = g, f, e, add(d, added), c, b, a, add(added, mix(a, 2, 13, 22), majority)
        for i, (before, after) in enumerate(zip(first, (a, b, c, d, e, f, g, h), strict=True)):
            builder.store(add(before, after), row(0, i), align=4)
        return context.get_dummy_value()

    return types.void(state, block), generate


@inner
def hash_texts(texts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The first 8 bytes of the SHA-256 of N texts, as numbers, uint64 (N,).

    texts: uint32 words of padded texts, see `pad`; ends: int64 (N,), the word at which one ends and the next begins.
    """
    found = np.empty(ends.size, np.uint64)
    state, block = np.empty((8, _LANES), np.uint32), np.zeros((_WORDS, _LANES), np.uint32)
    text = np.full(_LANES, -1, np.int64)  # which is in a lane; -1: none
    at = np.zeros(_LANES, np.int64)
    following = done = 0
    while done < ends.size:
        for lane in range(_LANES):
            if text[lane] < 0 and following < ends.size:
                text[lane], at[lane] = following, ends[following - 1] if following else 0
                state[:, lane] = _INITIAL
                following += 1
            if text[lane] >= 0:
                begin = at[lane]
                for i in range(_WORDS):
                    block[i, lane] = texts[begin + i]
        _mix_blocks(state, block)  # type: ignore[call-arg]  # numba gives the first argument
        for lane in range(_LANES):
            at[lane] += _WORDS
            if text[lane] >= 0 and at[lane] == ends[text[lane]]:
                found[text[lane]] = np.uint64(state[0, lane]) << np.uint64(32) | np.uint64(state[1, lane])
                text[lane] = -1
                done += 1
    return found


@inner
def pad(texts: np.ndarray, begin: int, size: int) -> int:
    """Complete the last block of a text in uint8 `texts`; returns where it ends, a multiple of 64 bytes further on."""
    end = begin + (size + 9 + BLOCK - 1) // BLOCK * BLOCK
    texts[begin + size : end] = 0
    texts[begin + size] = 0x80
    for i in range(5):
        texts[end - 1 - i] = (8 * size >> 8 * i) & 0xFF
    return end


@njit(inline="always")
def put_number(text: np.ndarray, at: int, number: int) -> int:
    """Write a number of up to nine digits in decimal; returns where it ends."""
    if number < 0:
        text[at] = 45  # "-"
        at, number = at + 1, -number
    if number < 10_000:
        return put_digits(text, at, number)
    if number >= 100_000_000:
        text[at] = 48 + number // 100_000_000  # a bend of 11 octaves is 1.8e8
        at = put_four_digits(text, at + 1, number // 10_000 % 10_000)
    else:
        at = put_digits(text, at, number // 10_000)
    return put_four_digits(text, at, number % 10_000)


@inner
def put_digits(text: np.ndarray, at: int, number: int) -> int:
    """A number below 10,000."""
    count = 1 + (number > 9) + (number > 99) + (number > 999)
    for i in range(count):
        text[at + i] = _DIGITS[number, 4 - count + i]
    return at + count


@njit(inline="always")
def put_four_digits(text: np.ndarray, at: int, number: int) -> int:
    for i in range(4):
        text[at + i] = _DIGITS[number, i]
    return at + 4


@inner
def copy(target: np.ndarray, at: int, source: np.ndarray, begin: int, count: int) -> None:
    """`target[at : at + count] = source[begin : begin + count]`, faster."""
    first, other = _u64(at), _u64(begin)
    for i in range(_u64(count)):
        target[first + i] = source[other + i]


@inner
def put_rows(text: np.ndarray, at: int, rows: np.ndarray, count: int) -> int:
    """Write the first `count` rows of an array as JSON, as in [[1,2],[3,4]]; returns where it ends."""
    text[at] = 91  # "["
    at += 1
    for i in range(count):
        if i:
            text[at] = 44  # ","
            at += 1
        text[at] = 91
        at += 1
        for j in range(rows.shape[1]):
            if j:
                text[at] = 44
                at += 1
            at = put_number(text, at, rows[i, j])
        text[at] = 93  # "]"
        at += 1
    text[at] = 93
    return at + 1
