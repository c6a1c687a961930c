"""`dx7data plan`: what `render` would write before the first shard."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from dx7data.cli import types
from dx7data.cli.inputs import check_output
from dx7data.cli.planning import add_plan_options, make_plan
from dx7data.cli.summary import describe, summarize
from dx7data.cli.verb import Verbs, add_verb
from dx7data.output import print_result, write_command
from dx7data.storage import Folder

if TYPE_CHECKING:
    from dx7data.plan.plan import Plan


def add_to(verbs: Verbs) -> None:
    plan = add_verb(verbs, "plan", run, "write the plan of a data set without audio; `render --plan` renders it")
    plan.add_argument("--out", required=True, type=types.folder, metavar="FOLDER", help="folder of the plan")
    plan.add_argument("--overwrite", action="store_true", help="remove an earlier data set from the folder first")
    add_plan_options(plan)


def run(options: Namespace) -> None:
    from dx7data.dataset import folders

    check_output(options.out)
    plan = make_plan(options)
    with folders.lock_folder(options.out, new=True):
        folders.prepare(plan, options.out, options.overwrite)
    print_plan(plan, options.out)


def print_plan(plan: Plan, folder: Folder, **more: object) -> None:
    """What was planned, where it is, and what renders it."""
    found = {"folder": str(folder), **summarize(plan), **more, "next": write_command("dx7data", "render", "--plan", folder)}
    print_result(found, lambda found: [*describe(found), f"The plan is in {found['folder']}: {found['next']}"])
