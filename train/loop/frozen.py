"""Parameters that a run leaves as they are: they have no gradient, no weight decay and no state of the optimiser."""

import difflib
from collections.abc import Iterable
from fnmatch import fnmatchcase

from torch import nn

from dx7data.errors import InputError


def find_frozen(names: Iterable[str], patterns: Iterable[str]) -> set[str]:
    """The names that a pattern has."""
    patterns = list(patterns)
    return {name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)}


def freeze(model: nn.Module, patterns: Iterable[str]) -> None:
    """Raises InputError for a pattern that no parameter has, and if none would be left."""
    named = dict(model.named_parameters())
    for pattern in patterns:
        if not find_frozen(named, [pattern]):
            near = difflib.get_close_matches(pattern, named, 3, cutoff=0.3) or list(named)[:3]
            raise InputError(f"--freeze {pattern}: no parameter has such a name; some are {', '.join(near)}")
    frozen = find_frozen(named, patterns)
    if len(frozen) == len(named):
        raise InputError("--freeze leaves nothing to train: name fewer parameters")
    for name in frozen:
        named[name].requires_grad_(False)
