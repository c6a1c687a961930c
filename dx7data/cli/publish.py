"""`dx7data publish`: a data set goes to the Hugging Face Hub."""

from argparse import Namespace

from dx7data.cli import types
from dx7data.cli.verb import Verbs, add_long_verb
from dx7data.output import format_count, print_result, progress_bar


def add_to(verbs: Verbs) -> None:
    publish = add_long_verb(verbs, "publish", run, "bring a data set to the Hugging Face Hub, or what of it is not there")
    publish.add_argument("folder", type=types.path)
    publish.add_argument("address", metavar="hf://datasets/OWNER/NAME", help="where to; @BRANCH may follow")
    publish.add_argument(
        "--plan-only", action="store_true", help="a few megabytes, from which anybody renders the shards: `render --plan`"
    )
    publish.add_argument("--private", action="store_true", help="if the repository is new, let only its owner see it")


def run(options: Namespace) -> None:
    from dx7data.dataset import publish
    from dx7data.plan.plan import Plan

    repository = publish.Repository.parse(options.address)
    size = 0 if options.plan_only else publish.measure(options.folder, Plan.load(options.folder))
    with progress_bar(total=size, unit="B", unit_scale=True, disable=options.plan_only) as bar:
        found = publish.publish(options.folder, repository, options.plan_only, options.private, bar.update)
    about = {"repository": str(repository), "plan_only": options.plan_only, "shards": found.shards}
    print_result(about | {"sent": found.sent, "missing": found.missing}, _describe)


def _describe(found: dict) -> list[str]:
    where, missing = found["repository"], found["missing"]
    if found["plan_only"]:
        return [f"The plan is at {where}: {format_count(missing, 'shard')} can be rendered from it"]
    lines = [f"{format_count(found['sent'], 'shard')} sent, {found['shards'] - found['sent']} already there: {where}"]
    if missing:
        lines.append(f"{format_count(missing, 'shard')} not rendered yet: render the rest, and give the same command again")
    return lines
