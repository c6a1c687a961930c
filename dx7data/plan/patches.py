"""The patches of a plan, a row each: the bank's own and those made from them, with where they came from."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from dx7data.arrow import encode_parquet
from dx7data.patches import patch

if TYPE_CHECKING:  # it takes a tenth of a second to import
    import pyarrow as pa

BANK, RANDOM, MUTATION, CROSSOVER, COUNTERFACTUAL = "bank", "random", "mutation", "crossover", "counterfactual"
KINDS = (BANK, RANDOM, MUTATION, CROSSOVER, COUNTERFACTUAL)
EVERY_SPLIT = "all"  # instead of a split, where there are too few patches to divide
NOWHERE = {"file": None, "sha256": None, "index": None}  # origin of what was never in a file


@dataclass(frozen=True)
class Patches:
    """N patches, each with its id, the split that it belongs to, its kind, its parents, its place in a file, its role."""

    stored: np.ndarray  # uint8 (N, 155)
    ids: list[str]
    families: list[str]  # near-duplicate groups, by the smallest id in each; made patches have their first parent's
    splits: list[str]
    kinds: list[str]
    parents: list[list[str]]  # ids; of two only for a crossover
    origins: list[dict]  # file, sha256, index
    targets: list[bool]  # samples use these in turn; the others are sources or counterfactuals

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index: Sequence[int] | np.ndarray) -> "Patches":
        """The rows with these indices, in this order."""
        lists = {name: [column[i] for i in index] for name, column in self._lists().items()}
        return replace(self, stored=self.stored[index], **lists)

    def join(self, other: "Patches") -> "Patches":
        """These rows and then those."""
        lists = {name: column + getattr(other, name) for name, column in self._lists().items()}
        return replace(self, stored=np.concatenate([self.stored, other.stored]), **lists)

    def _lists(self) -> dict[str, list]:
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "stored"}

    def within(self, split: str) -> np.ndarray:
        """Which rows belong to a split, bool (N,)."""
        return np.array([own in (split, EVERY_SPLIT) for own in self.splits], bool)

    def count_groups(self, split: str) -> int:
        """Near-duplicate groups of the targets of a split."""
        rows = np.flatnonzero(self.within(split) & self.targets)
        return len({self.families[i] for i in rows})

    def to_parquet(self) -> bytes:
        """`patches.parquet`."""
        import pyarrow as pa

        columns = {
            "id": self.ids,
            "name": [patch.patch_name(each) for each in self.stored],
            "family": self.families,
            "split": self.splits,
            "target": self.targets,
            "kind": self.kinds,
            "parents": pa.array(self.parents, pa.list_(pa.string())),
            "packed": [each.tobytes() for each in patch.pack(self.stored)],
            "file": pa.array([origin["file"] for origin in self.origins], pa.string()),
            "sha256": pa.array([origin["sha256"] for origin in self.origins], pa.string()),
            "index": pa.array([origin["index"] for origin in self.origins], pa.int32()),
        }
        return encode_parquet(pa.table(columns))

    @staticmethod
    def from_table(table: "pa.Table") -> "Patches":
        """What `to_parquet` gave. Raises ValueError for patches that are out of range, or cut."""
        columns = table.to_pydict()
        if set(map(len, columns["packed"])) - {patch.PACKED_BYTES}:
            raise ValueError(f"packed patches have {patch.PACKED_BYTES} bytes")
        packed = np.frombuffer(b"".join(columns["packed"]), np.uint8).reshape(-1, patch.PACKED_BYTES)
        return Patches(
            stored=patch.require_legal(patch.unpack(packed)),
            ids=columns["id"],
            families=columns["family"],
            splits=columns["split"],
            kinds=columns["kind"],
            parents=columns["parents"],
            origins=[dict(zip(NOWHERE, row, strict=True)) for row in zip(*(columns[name] for name in NOWHERE), strict=True)],
            targets=columns["target"],
        )


def make_rows(
    stored: Sequence[np.ndarray] | np.ndarray, kinds: list[str], origins: list[dict], targets: list[bool]
) -> Patches:
    """New rows, each a near-duplicate group of its own, without parents, and not yet in a split."""
    table = np.array(stored, np.uint8).reshape(-1, patch.STORED_BYTES)
    ids = [patch.patch_id(each) for each in table]
    return Patches(table, ids, ids, [EVERY_SPLIT] * len(ids), kinds, [[] for _ in ids], origins, targets)
