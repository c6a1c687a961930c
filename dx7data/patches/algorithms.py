"""The 32 algorithms: which operator modulates which, which are heard, and which feed back.

A row reads like the front panel: `6>5>4` says that operator 6 modulates 5 and 5 modulates 4; an operator that modulates
nothing is a carrier. Operators are indexed in stored order, op 6 first, so operator n has index 6 - n.
"""

from itertools import pairwise

import numpy as np

OPERATORS = 6

# Algorithm: connections, operator with feedback.
ALGORITHMS = (
    ("6>5>4>3 2>1", 6),  # 1
    ("6>5>4>3 2>1", 2),
    ("6>5>4 3>2>1", 6),
    ("6>5>4 3>2>1", 6),  # 4: Quirk: op 4's output is what feeds op 6
    ("6>5 4>3 2>1", 6),  # 5
    ("6>5 4>3 2>1", 6),  # 6: Quirk: op 5's output is what feeds op 6
    ("6>5>3 4>3 2>1", 6),
    ("6>5>3 4>3 2>1", 4),  # 8
    ("6>5>3 4>3 2>1", 2),
    ("6>4 5>4 3>2>1", 3),
    ("6>4 5>4 3>2>1", 6),
    ("6>3 5>3 4>3 2>1", 2),  # 12
    ("6>3 5>3 4>3 2>1", 6),
    ("6>4 5>4>3 2>1", 6),
    ("6>4 5>4>3 2>1", 2),
    ("6>5>1 4>3>1 2>1", 6),  # 16
    ("6>5>1 4>3>1 2>1", 2),
    ("6>5>4>1 3>1 2>1", 3),
    ("6>5 6>4 3>2>1", 6),
    ("6>4 5>4 3>2 3>1", 3),  # 20
    ("6>5 6>4 3>2 3>1", 3),
    ("6>5 6>4 6>3 2>1", 6),
    ("6>5 6>4 3>2 1", 6),
    ("6>5 6>4 6>3 2 1", 6),  # 24
    ("6>5 6>4 3 2 1", 6),
    ("6>4 5>4 3>2 1", 6),
    ("6>4 5>4 3>2 1", 3),
    ("6 5>4>3 2>1", 5),  # 28
    ("6>5 4>3 2 1", 6),
    ("6 5>4>3 2 1", 5),
    ("6>5 4 3 2 1", 6),
    ("6 5 4 3 2 1", 6),  # 32
)
_LOOP_LENGTHS = {4: 3, 6: 2}  # operators 6-5-4 and 6-5: the algorithms whose feedback spans more than one operator
_WEAK_FEEDBACK = (4, 6, 32)  # Quirk: two bits less feedback


def _index(operator: str | int) -> int:
    return OPERATORS - int(operator)


# Bit i of MODULATORS[algorithm, j] is set when the operator with index i modulates the one with index j.
MODULATORS = np.zeros((len(ALGORITHMS), OPERATORS), dtype=np.int32)
for _row, (_connections, _) in enumerate(ALGORITHMS):
    for _chain in _connections.split():
        _links = _chain.split(">")
        for _modulator, _target in pairwise(_links):
            MODULATORS[_row, _index(_target)] |= 1 << _index(_modulator)

# Bit j of CARRIERS[algorithm] is set when the operator with index j is heard.
CARRIERS = (1 << OPERATORS) - 1 - np.bitwise_or.reduce(MODULATORS, axis=1)

FEEDBACK_OPERATOR = np.array([_index(operator) for _, operator in ALGORITHMS], dtype=np.int32)

# With feedback on, operators FEEDBACK_OPERATOR to FEEDBACK_OPERATOR + LOOP_LENGTH - 1 form the loop.
LOOP_LENGTH = np.array([_LOOP_LENGTHS.get(number, 1) for number in range(1, len(ALGORITHMS) + 1)], dtype=np.int32)

# Bits by which the sum of the last two outputs is shifted left at feedback 0, one more for each step up to 7.
FEEDBACK_SHIFT = np.array([2 if number in _WEAK_FEEDBACK else 4 for number in range(1, len(ALGORITHMS) + 1)], dtype=np.int32)

# The order in which the GPU plays the operators, its *slots*: the one with feedback first, which nothing modulates, then the
# others in stored order; a slot's modulators so come before it. SLOT_OPERATOR[algorithm, slot]: the operator in it.
SLOT_OPERATOR = np.array([[head, *(j for j in range(OPERATORS) if j != head)] for head in FEEDBACK_OPERATOR], dtype=np.int32)

# Bit s of SLOT_CARRIERS[algorithm] is set when slot s is heard; bit 5 * (s - 1) + m of SLOT_MODULATORS when m modulates it.
SLOT_CARRIERS = np.zeros(len(ALGORITHMS), dtype=np.int32)
SLOT_MODULATORS = np.zeros(len(ALGORITHMS), dtype=np.int32)
for _row, _operators in enumerate(SLOT_OPERATOR):
    for _slot, _operator in enumerate(_operators):
        SLOT_CARRIERS[_row] |= (CARRIERS[_row] >> _operator & 1) << _slot
        for _m in range(_slot):
            SLOT_MODULATORS[_row] |= (MODULATORS[_row, _operator] >> _operators[_m] & 1) << (5 * (_slot - 1) + _m)
