"""`dx7data patches`: list, show, convert and breed patches."""

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from dx7data.cli import types
from dx7data.cli.inputs import check_not_read, load_patches
from dx7data.cli.types import seed, whole
from dx7data.cli.verb import Verbs, add_verb, add_verbs
from dx7data.output import format_count, print_result


def add_to(verbs: Verbs) -> None:
    patches = add_verbs(
        verbs.add_parser(
            "patches", help="list, show, convert and breed patches", description="List, show, convert and breed patches."
        )
    )
    listing = add_verb(patches, "ls", _list, "one line for each patch, and what was found in the files")
    listing.add_argument("paths", nargs="+", metavar="PATH")
    listing.add_argument(
        "--report", type=types.path, metavar="FILE", help="write what was found, repaired and refused, as JSON"
    )
    listing.add_argument("--keep-duplicates", action="store_true", help="list repeated patches each time they occur")
    show = add_verb(patches, "show", _show, "every field of a patch, as JSON")
    show.add_argument("patch", metavar="FILE:INDEX")
    export = add_verb(patches, "export", _export, "write the patches to a .json, .parquet, .syx or .txt file")
    export.add_argument("paths", nargs="+", metavar="PATH")
    export.add_argument("--out", required=True, type=types.path, metavar="FILE")
    export.add_argument(
        "--keep-duplicates",
        action="store_true",
        help="export repeated patches each time they occur, so that all keep their positions",
    )
    export.add_argument("--full-bank", action="store_true", help="fill up the last bank of a .syx file with INIT VOICEs")
    breed = add_verb(
        patches, "breed", _breed, "make a large bank of patches: their mutations and crossovers, and random voices"
    )
    breed.add_argument("paths", nargs="+", metavar="PATH")
    breed.add_argument("--out", required=True, type=types.path, metavar="FILE")
    breed.add_argument("--count", type=whole(1, 10**6), default=1000, metavar="N", help="patches in all (default: 1000)")
    breed.add_argument(
        "--generations", type=whole(1, 1000), default=4, metavar="N", help="each has patches of all before as parents (4)"
    )
    breed.add_argument(
        "--random",
        type=whole(0, 10**6),
        default=0,
        metavar="N",
        help="random voices among them that sound on three keys (0)",
    )
    breed.add_argument(
        "--simplify",
        choices=("carrier", "carriers", "ratios", "pair", "harmonic", "steady"),
        help="make each voice harmonic, and keep of it: one carrier; a carrier and its modulator (pair); six operators as "
        "carriers (carriers); or everything (harmonic). With their own frequency ratios instead: six carriers (ratios), or "
        "everything (steady)",
    )
    breed.set_defaults(stopped="stopped; nothing was written")
    breed.add_argument("--seed", type=seed(), default=0, help="seed of all random choices (default: 0)")


def _list(options: Namespace) -> None:
    """`dx7data patches ls PATH...`: one line for each patch."""
    from dx7data.patches import patch

    loaded = load_patches(options.paths, options.report, "none" if options.keep_duplicates else "bytes")
    rows = [
        {"file": origin["file"], "index": origin["index"], "id": name, "name": patch.patch_name(each)}
        | {"summary": patch.summarize(each)}
        for origin, name, each in zip(loaded.origins, loaded.ids, loaded.patches, strict=True)
    ]
    print_result({"report": loaded.report.to_dict(), "patches": rows}, _describe_list)


def _describe_list(found: dict) -> list[str]:
    return [f"{row['file']}:{row['index']:<3} {row['id']}  {row['summary']}" for row in found["patches"]]


def _show(options: Namespace) -> None:
    """`dx7data patches show FILE:INDEX`: every field of a patch."""
    from dx7data.patches import bank, patch

    print_result(patch.to_dict(bank.pick(options.patch)), lambda found: json.dumps(found, indent=1).split("\n"))


def _export(options: Namespace) -> None:
    """`dx7data patches export PATH... --out FILE`: the patches in another format."""
    from dx7data.patches import bank

    check_not_read("--out", options.out, options.paths)
    loaded = load_patches(options.paths, dedupe="none" if options.keep_duplicates else "bytes")
    bank.export(loaded, options.out, options.full_bank)
    _print_written(len(loaded.ids), options.out)


def _breed(options: Namespace) -> None:
    """`dx7data patches breed PATH... --out FILE`: many patches from a few."""
    from dx7data.patches import bank, patch
    from dx7data.patches.simplify import SIMPLER
    from dx7data.plan import breeding

    bank.check_export(options.out)
    check_not_read("--out", options.out, options.paths)
    parents = load_patches(options.paths)
    asked = options.seed, options.count, options.generations, options.random
    bred = breeding.breed(parents.patches, *asked, SIMPLER.get(options.simplify))
    ids, names = (list(map(of, bred)) for of in (patch.patch_id, patch.patch_name))
    origins = [{"file": None, "sha256": None, "index": None, "copies": 0} for _ in bred]
    bank.export(replace(parents, patches=bred, ids=ids, names=names, origins=origins), options.out)
    _print_written(len(bred), options.out)


def _print_written(count: int, path: Path) -> None:
    found = {"patches": count, "file": str(path)}
    print_result(found, lambda found: [f"{format_count(found['patches'], 'patch')}: {found['file']}"], path)
