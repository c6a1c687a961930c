"""The plan of a data set: its spec, patches and phrases, from which sample (split, j) follows as a pure function.

A plan is computed before the first shard, kept in the folder (`dataset.json`, `patches.parquet`, `phrases.arrow`) and
never changed by a render. So a shard can be made alone, in any order and on any machine, and is always the same.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast

from dx7data.errors import InputError, make_printable
from dx7data.files import add_hash, read_all
from dx7data.output import format_count
from dx7data.patches import patch
from dx7data.phrases.columns import Phrases
from dx7data.phrases.phrase import max_notes
from dx7data.plan import sample, schema, score, tables
from dx7data.plan.patches import Patches
from dx7data.plan.recipe import ENGINE, FORMAT, FORMAT_3, READ_ONLY, Recipe
from dx7data.plan.spec import RANDOM_SOURCE, Shard
from dx7data.storage import Folder, Where, open_folder


@dataclass(frozen=True, kw_only=True)
class Plan(Recipe):
    """A data set before it is rendered: its spec (the options), its patches and phrases, and the size of each split.

    `plan["train", 7]` renders a sample, `len(plan)` counts those of all splits. Patches and phrases are in order of id.
    """

    silent: list[dict]  # patches left out: id, name
    split_report: dict  # how far the splits are apart, see split.py
    hidden: dict | None = None  # what the target shows and the source does not, see hidden.py; None: not measured
    title: str | None = None  # for the card
    license: str | None = None  # for the card: an identifier of the Hub, or any other name

    @staticmethod
    def load(where: Where) -> "Plan":
        """Read the plan in a folder or at a URL.

        Raises InputError if there is none, or it is of another version, damaged or edited.
        """
        folder = open_folder(where)
        document = _read_document(folder)
        spec, counts = document["spec"], {str(split): count for split, count in document["samples"].items()}
        patches = _load_patches(folder, document)
        tables.check_patches(patches, spec, counts, folder.where("patches.parquet"))
        with _load_phrases(folder, document) as phrases:
            plan = Plan(
                spec=spec,
                patches=patches,
                phrases=phrases,
                counts=counts,
                format=document["format"],
                old_fingerprint=document["fingerprint"] if document["format"] == READ_ONLY[0] else None,
                silent=[dict(each) for each in document["left_out_as_silent"]],
                split_report=dict(document["split_report"]),
                hidden=dict(hidden) if (hidden := document.get("hidden")) else None,
                title=document.get("title"),
                license=document.get("license"),
            )
            plan.shards()
            if plan.fingerprint != document["fingerprint"]:
                path = folder.where("dataset.json")
                raise InputError(f"{path}, field fingerprint: the patches or phrases in {folder} are of another data set")
        return plan

    def __len__(self) -> int:
        """The number of samples in all splits."""
        return sum(self.counts.values())

    def __getitem__(self, place: tuple[str, int]) -> sample.Sample:
        """Render sample j of a split, `plan["train", 7]`. It is the same as in its shard.

        Raises KeyError for a split that there is not, and IndexError for a sample that it has not.
        """
        if not isinstance(place, tuple) or len(place) != 2:
            raise KeyError(f'a sample has a split and a number, as in plan["train", 7], not {place!r}')
        split, j = place
        if split not in self.counts:
            raise KeyError(f"there is no split {split!r}: there are {', '.join(self.counts)}")
        if not 0 <= j < self.counts[split]:
            raise IndexError(f"there is no sample {j} in {split}: it has {self.counts[split]:,} samples, from 0 on")
        return sample.render_samples(self, [place])[0]

    def check_stats(self, shard: Shard, data: bytes, where: object) -> schema.Stats:
        """What the stats file of a shard holds. Raises InputError if it was edited, or is of another plan or shard."""
        stats = schema.decode_signed(data, schema.Stats, where)
        expected = {"fingerprint": self.fingerprint, "split": shard.split, "shard": shard.number, "samples": shard.count}
        wrong = [name for name, value in expected.items() if stats[name] != value]
        if wrong == ["samples"] and stats["samples"] < shard.count:
            raise InputError(
                f"{where}: it has {stats['samples']:,} of {shard.count:,} samples; `dx7data extend` was stopped, and the "
                "same command goes on"
            )
        if wrong:
            raise InputError(f"{where}, field {wrong[0]}: it is of another data set, or of another shard")
        return stats

    @cached_property
    def _table_hashes(self) -> dict[str, str]:
        """Of the files that patches and phrases are written to."""
        hashes = {"patches.parquet": hashlib.sha256(self.patches.to_parquet()).hexdigest()}
        return hashes if self.phrases is None else {**hashes, "phrases.arrow": self.phrases.hash_file()}

    def to_json(self) -> bytes:
        """The content of `dataset.json`."""
        document = {
            "format": self.format,
            "engine": ENGINE,
            "fingerprint": self.fingerprint,
            **({} if self.format == FORMAT_3 else {"title": self.title, "license": self.license}),
            "spec": self.spec.to_json(),
            "samples": self.counts,
            "patches": len(self.patches),
            "phrases": "drawn" if self.phrases is None else len(self.phrases),
            "split_report": self.split_report,
            "hidden": self.hidden,
            "left_out_as_silent": self.silent,
            "tables": self._table_hashes,
        }
        return add_hash(document)


def _read_document(folder: Folder) -> schema.PlanDocument:
    path = folder.where("dataset.json")
    try:
        data = folder.read("dataset.json", schema.DOCUMENT_BYTES)
    except FileNotFoundError:
        raise InputError(f"{folder} is no data set: it has no dataset.json") from None
    version = schema.decode(data, schema.Version, path)
    if (version["format"], version["engine"]) not in ((FORMAT, ENGINE), (FORMAT_3, ENGINE), READ_ONLY):
        raise InputError(f"{path} was made by another version of dx7data (format {FORMAT}, engine {ENGINE} here)")
    return schema.decode_plan(data, path)


@contextmanager
def _open_table(folder: Folder, name: str, document: schema.PlanDocument) -> Iterator[BinaryIO]:
    """A table, to be read in the block. Raises InputError at its end if it is not as the plan was written with it.

    Its hash is taken meanwhile by another thread, for millions of phrases take a second. An error in the block is then what
    comes of the change.
    """
    changed = InputError(f"{folder.where(name)} is not what it was: put a copy back, or make the plan anew")
    try:
        with folder.open(name, tables.PLAN_BYTES) as file, ThreadPoolExecutor(1) as pool:
            digest = pool.submit(_hash, f"/dev/fd/{file.fileno()}")  # which has a place of its own to read at
            try:
                yield file
            finally:
                if digest.result() != cast("dict[str, str]", document["tables"])[name]:
                    raise changed from None
    except FileNotFoundError:
        raise changed from None


def _hash(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(cast(Any, file), "sha256").hexdigest()


def _load_patches(folder: Folder, document: schema.PlanDocument) -> Patches:
    path, count = folder.where("patches.parquet"), document["patches"]
    with _open_table(folder, "patches.parquet", document) as file:
        data = read_all(file, tables.PLAN_BYTES, path)
    table = tables.read_table(data, tables.list_patch_columns(), path, count)
    try:
        return Patches.from_table(table)
    except ValueError as error:
        raise InputError(f"{path}, column packed: {error}") from None


@contextmanager
def _load_phrases(folder: Folder, document: schema.PlanDocument) -> Iterator[Phrases | None]:
    """None: they are drawn. Only at the end of the block it is known that their file has not changed."""
    names = [name for name in document["tables"] if name.startswith("phrases")]
    count = document["phrases"]
    if len(names) != (count != "drawn"):
        raise InputError(f"{folder.where('dataset.json')}, field tables: it does not say where the phrases are")
    if not names:
        yield None
        return
    path = folder.where(names[0])
    with _open_table(folder, names[0], document) as file:
        try:
            if names[0].endswith(".arrow"):
                phrases = Phrases.map(Path(f"/dev/fd/{file.fileno()}"))
            else:
                data = read_all(file, tables.PLAN_BYTES, path)
                phrases = Phrases.from_table(tables.read_table(data, tables.list_phrase_columns(), path, int(count)))
        except (OSError, ValueError, KeyError, TypeError, MemoryError) as error:
            raise InputError(f"{path} can't be read: {error}") from None
        if len(phrases) != count or not all(len(phrases.within(split)) for split in document["samples"]):
            raise InputError(
                f"{path} has {format_count(len(phrases), 'phrase')}, not {count:,}, or none for a split that has samples"
            )
        if phrases.largest > (most := max_notes(document["spec"].seconds)):
            raise InputError(f"{path}, column notes: a phrase has {phrases.largest:,}, more than the {most:,} of a clip")
        yield phrases


def _list_different_phrases(old: Plan, new: Plan) -> tuple[list[str], list[str]]:
    """Ids of both, if any differ: as texts, millions take much memory."""
    there, here = (None if plan.phrases is None else plan.phrases.table["id"] for plan in (old, new))
    if there is not None and here is not None and there.equals(here):
        return [], []
    return [] if there is None else there.to_pylist(), [] if here is None else here.to_pylist()


def _name_option(field: str) -> str:
    """How a field of the spec is asked for on the command line; its own name where only a program can."""
    if field in ("bend_semitones", "wheel_range"):
        return field
    return {"prefixes": "--prefix", "shard_bytes": "--shard-size"}.get(field, "--" + field.replace("_", "-"))


def _describe_source(plan: Plan) -> str:
    if plan.spec.source == RANDOM_SOURCE:
        return RANDOM_SOURCE
    source = score.get_source_patch(plan)
    return f"{make_printable(patch.patch_name(source).strip())} ({patch.patch_id(source)})"


def _describe_option(value: object) -> str:
    """An option's value as it is typed; ranges have two numbers, of which None is no limit."""
    if isinstance(value, tuple) and len(value) == 2 and all(isinstance(each, int | None) for each in value):
        return "..".join("" if each is None else str(each) for each in value)
    if isinstance(value, tuple | list):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def find_differences(old: Plan, new: Plan) -> list[str]:
    """What another plan asks for, in words; empty when both make the same data set."""
    if old.old_fingerprint:
        return [f"its format is {READ_ONLY[0]}, which only an older version renders, and {FORMAT} here"]
    found = [] if old.format == new.format else [f"format is {old.format} there and {new.format} here"]
    before, after = (
        {"title": plan.title, "license": plan.license, **asdict(plan.spec), **asdict(plan.spec.filters)}
        | {"source": _describe_source(plan)}
        for plan in (old, new)
    )
    del before["filters"]  # each is one difference
    found += [
        f"{_name_option(name)} is {_describe_option(before[name])} there and {_describe_option(after[name])} here"
        for name in before
        if before[name] != after[name]
    ]
    if old.counts != new.counts:
        counts = (", ".join(f"{split} {count:,}" for split, count in plan.counts.items()) for plan in (old, new))
        found.append("samples are {} there and {} here".format(*counts))
    for what, there, here in (
        ("patches", old.patches.ids, new.patches.ids),
        ("phrases", *_list_different_phrases(old, new)),
    ):
        if there != here:
            only_there, only_here = len(set(there) - set(here)), len(set(here) - set(there))
            found.append(f"{only_there} {what} are only there and {only_here} only here")
    if not found and old.fingerprint != new.fingerprint:
        found.append("patches or phrases differ in name, place or role, as by --hold-out or --targets")
    return found
