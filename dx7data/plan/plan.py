"""The plan of a data set: its spec, patches and phrases, from which sample (split, j) follows as a pure function.

A plan is computed before the first shard, kept in the folder (`dataset.json`, `patches.parquet`, `phrases.arrow`) and
never changed by a render. So a shard can be made alone, in any order and on any machine, and is always the same.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from dx7data.errors import InputError
from dx7data.files import add_hash, check_hash, write_atomically
from dx7data.phrases.phrase import Phrases
from dx7data.plan import sample
from dx7data.plan.patches import Patches
from dx7data.plan.recipe import ENGINE, FORMAT, READ_ONLY, Recipe
from dx7data.plan.spec import Shard, Spec


@dataclass(frozen=True, kw_only=True)
class Plan(Recipe):
    """A data set before it is rendered: its spec (the options), its patches and phrases, and the size of each split.

    `plan["train", 7]` renders a sample, `len(plan)` counts those of all splits. Patches and phrases are in order of id.
    """

    silent: list[dict]  # patches left out: id, name
    split_report: dict  # how far the splits are apart, see split.py
    hidden: dict | None = None  # what the target shows and the source does not, see hidden.py; None: not measured

    @staticmethod
    def load(folder: Path) -> "Plan":
        """Read the plan in a folder. Raises InputError if there is none, or it is of another version, damaged or edited."""
        folder = Path(folder)
        document = _read_document(folder / "dataset.json")
        try:
            for name, digest in document["tables"].items():
                with open(folder / name, "rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                        raise InputError(f"{folder / name} is not what it was: put a copy back, or make the plan anew")
            spec = Spec.from_json(document["spec"])
            patches, phrases = Patches.from_parquet((folder / "patches.parquet").read_bytes()), None
            if "phrases.arrow" in document["tables"]:
                phrases = Phrases.map(folder / "phrases.arrow")
            elif "phrases.parquet" in document["tables"]:
                phrases = Phrases.from_parquet((folder / "phrases.parquet").read_bytes())
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"the plan in {folder} can't be read: {error}") from None
        return Plan(
            spec=spec,
            patches=patches,
            phrases=phrases,
            counts=document["samples"],
            old_fingerprint=document["fingerprint"] if document["format"] != FORMAT else None,
            silent=document["left_out_as_silent"],
            split_report=document["split_report"],
            hidden=document.get("hidden"),
        )

    def __len__(self) -> int:
        """The number of samples in all splits."""
        return sum(self.counts.values())

    def __getitem__(self, place: tuple[str, int]) -> sample.Sample:
        """Render sample j of a split, `plan["train", 7]`. It is the same as in its shard."""
        return sample.render_samples(self, [place])[0]

    def check_stats(self, shard: Shard, data: bytes) -> dict:
        """What the stats file of a shard holds. Raises ValueError if it was edited, or is of another plan or shard."""
        stats = check_hash(data)
        expected = {"fingerprint": self.fingerprint, "split": shard.split, "shard": shard.number, "samples": shard.count}
        if stats | expected != stats:
            raise ValueError(f"the stats of {shard.name} are those of another plan or shard")
        return stats

    def files(self) -> dict[str, bytes]:
        """Name and content of the files of a plan, `dataset.json`, which has the hashes of the others, last."""
        tables = {"patches.parquet": self.patches.to_parquet()}
        if self.phrases is not None:
            tables["phrases.arrow"] = self.phrases.to_arrow()
        document = {
            "format": FORMAT,
            "engine": ENGINE,
            "fingerprint": self.fingerprint,
            "spec": asdict(self.spec),
            "samples": self.counts,
            "patches": len(self.patches),
            "phrases": "drawn" if self.phrases is None else len(self.phrases),
            "split_report": self.split_report,
            "hidden": self.hidden,
            "left_out_as_silent": self.silent,
            "tables": {name: hashlib.sha256(data).hexdigest() for name, data in tables.items()},
        }
        return tables | {"dataset.json": add_hash(document)}

    def write(self, folder: Path) -> None:
        """Put the plan into a folder; a folder with a dataset.json has all of it."""
        for name, data in self.files().items():
            write_atomically(folder / name, lambda file, data=data: file.write(data))


def _read_document(path: Path) -> dict:
    try:
        data = path.read_bytes()
        version = json.loads(data)
        found = (version.get("format"), version.get("engine")) if isinstance(version, dict) else None
        if found not in ((FORMAT, ENGINE), READ_ONLY):
            raise InputError(f"{path} was made by another version of dx7data (format {FORMAT}, engine {ENGINE} here)")
        return check_hash(data)
    except FileNotFoundError:
        raise InputError(f"{path.parent} is no data set: it has no {path.name}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read: {error}") from None


def find_differences(old: Plan, new: Plan) -> list[str]:
    """What another plan asks for, in words; empty when both make the same data set."""
    if old.old_fingerprint:
        return [f"its format is {READ_ONLY[0]}, which only an older version renders, and {FORMAT} here"]
    before, after = ({**asdict(plan.spec), **asdict(plan.spec.filters)} for plan in (old, new))
    del before["filters"]  # each is one difference
    found = [f"{name} is {before[name]!r} there and {after[name]!r} here" for name in before if before[name] != after[name]]
    if old.counts != new.counts:
        found.append(f"samples are {old.counts} there and {new.counts} here")
    for what, there, here in (
        ("patches", old.patches.ids, new.patches.ids),
        ("phrases", old.phrases.ids if old.phrases else [], new.phrases.ids if new.phrases else []),
    ):
        if there != here:
            only_there, only_here = len(set(there) - set(here)), len(set(here) - set(there))
            found.append(f"{only_there} {what} are only there and {only_here} only here")
    if not found and old.fingerprint != new.fingerprint:
        found.append("patches or phrases differ in name, place or role")
    return found
