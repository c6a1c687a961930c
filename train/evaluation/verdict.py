"""How a run ended: whether it has learnt anything at all, by floors that need no model.

It diverged if its loss is not finite or, at the end, above 16 bits: the uniform guess costs 8, and every model begins near
it. It is worse than uniform or than order-0 if an evaluation says so: a table of 256 frequencies does better then.
"""

import math
from pathlib import Path

from models.mulaw import CLASSES, mu_law_encode, mu_law_table
from train.evaluation import metrics
from train.evaluation.evaluate import HeldOut
from train.results import reader

OK, ORDER_0, UNIFORM, DIVERGED = "ok", "worse than order-0", "worse than uniform", "diverged"
UNIFORM_BITS = math.log2(CLASSES)
DIVERGED_BITS = 16.0
_LAST = 10  # steps at most, and a tenth of all, whose mean is the final training loss


def judge(bits: float, order0: float = UNIFORM_BITS) -> str:
    """Of bits a sample, NaN included, and the order-0 entropy of the same clips."""
    if not bits <= UNIFORM_BITS:
        return UNIFORM
    return OK if bits <= order0 else ORDER_0


def judge_run(run: Path, sets: list[HeldOut]) -> dict:
    """What result.json says of a run that has done its last step, by its tables and the sets of its evaluations.

    "verdict": of the set that decides, or of the training loss where nothing is evaluated; "loss_bits": of the last steps;
    "sets": of each set its last bits (none: no number), their order-0 entropy in bits, and a verdict.
    """
    losses = reader.column(reader.read_table(run / "metrics.csv"), "loss_bits")
    loss = float(losses[-max(1, min(_LAST, len(losses) // 10)) :].mean()) if len(losses) else math.nan
    last = {name: rows[-1] for name, rows in reader.group_by_set(reader.read_table(run / "validation.csv")).items()}
    found = {}
    for one in sets:
        if one.name in last:
            bits = float(last[one.name]["bits"])
            order0 = metrics.order0_bits(mu_law_encode(one.examples.target, mu_law_table())).mean().item()
            found[one.name] = {
                "bits": bits if math.isfinite(bits) else None,
                "order0_bits": order0,
                "verdict": judge(bits, order0),
            }
    verdict = found[reader.choose_set(found)]["verdict"] if found else judge(loss)
    if not loss <= DIVERGED_BITS:
        verdict = DIVERGED
    return {"verdict": verdict, "loss_bits": loss if math.isfinite(loss) else None, "sets": found}


def find_warnings(result: dict) -> list[str]:
    """A sentence for each set that is worse than a floor, or for the training loss where there is no set."""
    if not result["sets"] and result["verdict"] == UNIFORM:
        return [f"{UNIFORM}: the training loss is {result['loss_bits']:.3f} bits a sample, a guess costs {UNIFORM_BITS:g}"]
    floors = {
        UNIFORM: lambda one: f"a uniform guess has {UNIFORM_BITS:.3f}",
        ORDER_0: lambda one: f"to know how frequent each class is, and no more, gives {one['order0_bits']:.3f}",
    }
    return [
        f"{name} is {one['verdict']}: {one['bits'] or math.nan:.3f} bits a sample; {floors[one['verdict']](one)}"
        for name, one in result["sets"].items()
        if one["verdict"] != OK
    ]
