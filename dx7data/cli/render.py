"""`dx7data render`: patches in, shards out."""

from __future__ import annotations

import time
from argparse import SUPPRESS, ArgumentParser, Namespace
from typing import TYPE_CHECKING

from dx7data.cli import types
from dx7data.cli.inputs import announce_compilation, check_output
from dx7data.cli.planning import add_plan_options, make_plan
from dx7data.cli.rendering import add_machine_options, check_machines, print_rendered, render_shards, start_early
from dx7data.cli.summary import announce, describe, summarize
from dx7data.cli.verb import Verbs, add_long_verb
from dx7data.errors import InputError
from dx7data.output import format_count, format_length, print_result

if TYPE_CHECKING:
    from dx7data.plan.plan import Plan


def add_to(verbs: Verbs) -> None:
    _add_options(
        add_long_verb(verbs, "render", run, "render a bank of patches into WebDataset shards of source and target clips")
    )


def _add_options(render: ArgumentParser) -> None:
    render.add_argument("--out", type=types.folder, metavar="FOLDER", help="folder of the data set")
    render.add_argument(
        "--plan",
        type=types.folder,
        metavar="FOLDER",
        help="render the plan in this folder, into it or into --out; leave out all options of the plan",
    )
    part = render.add_mutually_exclusive_group()
    part.add_argument("--only", type=types.shard, metavar="SPLIT/N", help="render this shard alone, as in train/000012")
    part.add_argument(
        "--job",
        type=types.job,
        metavar="K/N",
        help="render the K-th of N equal parts; run `dx7data verify` when all are done",
    )
    add_machine_options(render)
    render.add_argument("--overwrite", action="store_true", help="remove an earlier data set from the folder first")
    render.add_argument("--dry-run", action="store_true", help="say what would be made, and how long it would take")
    add_plan_options(render)


def run(options: Namespace) -> None:
    _refuse_beside_plan(options)
    if options.overwrite and (options.job or options.only):
        raise InputError(
            f"--overwrite beside --{'job' if options.job else 'only'} would remove what other jobs have made: leave it out, "
            "and begin with `dx7data plan --overwrite` where the folder has another data set"
        )
    if not options.dry_run:
        start_early(options)
        check_machines(options)
    if not options.out and not options.plan:
        raise InputError("--out says where the shards go: name a folder")
    if not options.dry_run:
        check_output(options.out or options.plan)
    if options.plan:
        from dx7data.plan.plan import Plan

        plan = Plan.load(options.plan)
        plan.check_current()
        announce_compilation()
    else:
        plan = make_plan(options)
    chosen = _choose_part(plan, options)
    if options.dry_run:
        print_result(summarize(plan) | _estimate(plan, plan.shards() if chosen is None else chosen, options), _describe)
        return
    if not options.plan:
        announce(summarize(plan))
    from dx7data.dataset import folders

    folder = options.out or options.plan
    with folders.lock_folder(folder, new=True, shared=chosen is not None):
        missing = folders.prepare(plan, folder, options.overwrite, chosen)
        if chosen is None:
            folders.remove_partial(folder)
        found = render_shards(plan, folder, missing, options)
    print_rendered(found, plan, folder)


def _refuse_beside_plan(options: Namespace) -> None:
    """With --plan, what to render is in its folder: an option that says otherwise would be ignored."""
    if options.plan:
        parser = ArgumentParser(allow_abbrev=False)
        add_plan_options(parser)
        for action in parser._actions:
            action.default = SUPPRESS  # also of options that have one: what is given is refused, whatever its value
        if given := vars(parser.parse_known_args(options.argv)[0]):
            raise InputError(f"--{next(iter(given)).replace('_', '-')} is a part of the plan: leave it out beside --plan")


def _choose_part(plan: Plan, options: Namespace) -> list | None:
    """The shards that --only or --job asks for; None for all."""
    if options.job:
        number, of = options.job
        return plan.shards()[number - 1 :: of]
    if not options.only:
        return None
    split, number = options.only
    of_split = [each for each in plan.shards() if each.split == split]
    if not 0 <= number < len(of_split):
        raise InputError(f"--only {split}/{number:06d}: {split} has {format_count(len(of_split), 'shard')}")
    return [of_split[number]]


def _estimate(plan: Plan, shards: list, options: Namespace) -> dict:
    """What rendering some shards would take; a few samples are rendered."""
    from dx7data.dataset.executors import local
    from dx7data.plan import sample

    workers = options.workers or local.count_workers()
    first = plan.shards()[0]
    places = [(first.split, j) for j in range(min(sample.batch_size(plan), first.count))]
    sample.render_samples(plan, places[:1])
    began = time.perf_counter()
    members = [each.members() for each in sample.render_samples(plan, places)]
    each_takes = (time.perf_counter() - began) / len(members)
    size = sum(1024 + len(data) for _, data in members[0])
    total = sum(each.count for each in shards)
    found = {"shards": len(shards), "hours": total * plan.spec.seconds / 3600, "bytes": total * size}
    return found | {"render_seconds": total * each_takes / workers, "workers": workers}


def _describe(found: dict) -> list[str]:
    return [
        *describe(found),
        f"{format_length(3600 * found['hours'])} of target audio, about {found['bytes'] / 1e6:,.1f} MB in "
        f"{format_count(found['shards'], 'shard')}, about {found['render_seconds']:,.0f} s with "
        f"{format_count(found['workers'], 'worker')} on the CPU. Nothing was written.",
    ]
