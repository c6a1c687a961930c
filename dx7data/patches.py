"""The patches of a plan, a row each: the bank's own and those made from them, with where they came from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dx7data import patch
from dx7data.files import write_atomically

BANK, RANDOM, MUTATION, CROSSOVER, COUNTERFACTUAL = "bank", "random", "mutation", "crossover", "counterfactual"
EVERY_SPLIT = "all"  # instead of a split, where there are too few patches to divide
NOWHERE = {"file": None, "sha256": None, "index": None}  # origin of what was never in a file


@dataclass(frozen=True)
class Patches:
    """N patches, each with its id, the split that it belongs to, its kind, its parents, its place in a file, its role."""

    stored: np.ndarray  # uint8 (N, 155)
    ids: list[str]
    splits: list[str]
    kinds: list[str]
    parents: list[list[str]]  # ids; of two only for a crossover
    origins: list[dict]  # file, sha256, index
    targets: list[bool]  # samples take their turns among these; the others are sources or counterfactuals

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index) -> "Patches":
        """The rows with these indices, in this order."""
        columns = (self.ids, self.splits, self.kinds, self.parents, self.origins, self.targets)
        return Patches(self.stored[index], *([column[i] for i in index] for column in columns))

    def join(self, other: "Patches") -> "Patches":
        """These rows and then those."""
        lists = ("ids", "splits", "kinds", "parents", "origins", "targets")
        columns = [getattr(self, name) + getattr(other, name) for name in lists]
        return Patches(np.concatenate([self.stored, other.stored]), *columns)

    def within(self, split: str) -> np.ndarray:
        """Which rows belong to a split, bool (N,)."""
        return np.array([own in (split, EVERY_SPLIT) for own in self.splits], bool)

    def write(self, path: Path) -> None:
        """`patches.parquet`."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {
            "id": self.ids,
            "name": [patch.patch_name(each) for each in self.stored],
            "split": self.splits,
            "target": self.targets,
            "kind": self.kinds,
            "parents": pa.array(self.parents, pa.list_(pa.string())),
            "packed": [each.tobytes() for each in patch.pack(self.stored)],
            "file": pa.array([origin["file"] for origin in self.origins], pa.string()),
            "sha256": pa.array([origin["sha256"] for origin in self.origins], pa.string()),
            "index": pa.array([origin["index"] for origin in self.origins], pa.int32()),
        }
        write_atomically(path, lambda file: pq.write_table(pa.table(columns), file))

    @staticmethod
    def read(path: Path) -> "Patches":
        """What `write` wrote. Raises OSError, ValueError or KeyError when that is not so."""
        import pyarrow.parquet as pq

        table = pq.read_table(path).to_pydict()
        packed = np.frombuffer(b"".join(table["packed"]), np.uint8).reshape(-1, patch.PACKED_BYTES)
        return Patches(
            patch.unpack(packed),
            *(table[name] for name in ("id", "split", "kind", "parents")),
            [dict(zip(NOWHERE, row, strict=True)) for row in zip(*(table[name] for name in NOWHERE), strict=True)],
            table["target"],
        )
