"""`dx7data publish`: a data set goes to the Hugging Face Hub."""

import sys
from argparse import Namespace

from dx7data.cli import types
from dx7data.cli.verb import Verbs, add_verb


def add_to(verbs: Verbs) -> None:
    publish = add_verb(verbs, "publish", run, "bring a data set to the Hugging Face Hub, or what of it is not there")
    publish.add_argument("folder", type=types.path)
    publish.add_argument("address", metavar="hf://datasets/OWNER/NAME", help="where to; @BRANCH may follow")
    publish.add_argument(
        "--plan-only", action="store_true", help="a few megabytes, from which anybody renders the shards: `render --plan`"
    )
    publish.add_argument("--private", action="store_true", help="if the repository is new, let only its owner see it")


def run(options: Namespace) -> None:
    from tqdm import tqdm

    from dx7data.dataset import publish
    from dx7data.plan.plan import Plan

    repository = publish.Repository.parse(options.address)
    size = 0 if options.plan_only else publish.measure(options.folder, Plan.load(options.folder))
    with tqdm(total=size, unit="B", unit_scale=True, file=sys.stderr, disable=options.plan_only) as bar:
        found = publish.publish(options.folder, repository, options.plan_only, options.private, bar.update)
    if options.plan_only:
        print(f"The plan is at {repository}: {found.missing} shards can be rendered from it")
        return
    print(f"{found.sent} shards sent, {found.shards - found.sent} were there: {repository}")
    if found.missing:
        print(f"{found.missing} shards are not rendered yet: render them, and give the same command again")
