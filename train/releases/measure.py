"""What a released model reaches on the validation clips of its run, and what rounding its weights has cost."""

from typing import Any

from dx7data.errors import InputError
from models.model import Model
from models.mulaw import mu_law_encode, mu_law_table
from train.evaluation import metrics
from train.evaluation.decode import DECODERS, Decoder
from train.evaluation.evaluate import HeldOut, evaluate
from train.results import reader

MAX_LOSS = 0.005  # bits a sample that rounding may change; another seed of the same training changes some 0.02
_AT_ONCE = 16  # clips; on a GPU four times as many


def measure(exact: Model, rounded: Model, sets: list[HeldOut], device: str) -> list[dict[str, Any]]:
    """A row for each set, of the rounded model in float32.

    `bits`, their `bits_se`, and the SNRs; `order0_bits`, the entropy of the targets' classes; `change`, the bits less those
    of the exact model; `heard`: of each decoder its `mel_db` and `mrstft`, both distances, of which less is better.
    Raises InputError if rounding has changed the bits of a set by more than MAX_LOSS.
    """
    batch = _AT_ONCE * (4 if device == "cuda" else 1)
    before, _, _ = evaluate(exact, sets, batch, device)
    by_decoder = {how: evaluate(rounded, sets, batch, device, how=how)[0] for how in DECODERS}
    found = []
    for i, (old, new) in enumerate(zip(before, by_decoder[DECODERS[0]], strict=True)):
        change = new["bits"] - old["bits"]
        if not abs(change) <= MAX_LOSS:
            raise InputError(
                f"weights of 16 bits change the bits of {old['set']} from {old['bits']:.4f} to {new['bits']:.4f}, by more "
                f"than {MAX_LOSS}: nothing was written"
            )
        row = {name: new[name] for name in ("set", "samples", "bits", "bits_se", "snr_mean_db", "snr_argmax_db")}
        order0 = metrics.order0_bits(mu_law_encode(sets[i].examples.target, mu_law_table())).mean().item()
        heard = {how: {name: rows[i][name] for name in ("mel_db", "mrstft")} for how, rows in by_decoder.items()}
        found.append(row | {"order0_bits": order0, "change": change, "heard": heard})
    return found


def choose_decoder(rows: list[dict[str, Any]]) -> Decoder:
    """The one whose spectrogram is nearest to the target's in the set by which runs are judged.

    SNR would not choose: the mean has the best one whatever it sounds like.
    """
    which = reader.choose_set([row["set"] for row in rows])
    heard = next(row["heard"] for row in rows if row["set"] == which)
    return min(heard, key=lambda how: heard[how]["mel_db"])
