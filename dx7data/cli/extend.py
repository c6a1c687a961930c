"""`dx7data extend`: more samples in the same folder, or more patches in the plan of a new one."""

from argparse import Namespace

from dx7data.cli import types
from dx7data.cli.inputs import announce_compilation, check_output, load_patches
from dx7data.cli.plan import print_plan
from dx7data.cli.rendering import add_machine_options, check_machines, print_rendered, render_shards, start_early
from dx7data.cli.types import whole
from dx7data.cli.verb import Verbs, add_long_verb
from dx7data.errors import InputError
from dx7data.output import log


def add_to(verbs: Verbs) -> None:
    extend = add_long_verb(verbs, "extend", run, "add samples to a data set, or patches to its plan")
    extend.add_argument("folder", type=types.folder, metavar="FOLDER")
    extend.add_argument(
        "--samples", type=whole(1, 10**9), metavar="N", help="number of samples in all, not fewer than there are"
    )
    extend.add_argument("--patches", nargs="+", metavar="PATH", help="patches to add; the new plan goes to --out")
    extend.add_argument("--out", type=types.folder, metavar="FOLDER", help="folder of the plan with the new patches")
    add_machine_options(extend)


def run(options: Namespace) -> None:
    from dx7data.dataset import folders
    from dx7data.plan import builder
    from dx7data.plan.plan import Plan

    if options.samples and not options.patches:
        start_early(options)
    check_machines(options)
    if not options.samples and not options.patches:
        raise InputError("there is nothing to add: ask for more --samples N, or name more --patches")
    if bool(options.patches) != bool(options.out):
        raise InputError("new patches change all samples, so --patches needs --out, a new folder, and only --patches does")
    if options.patches and options.out.identity == options.folder.identity:
        raise InputError(f"--out {options.out} is the data set itself, whose samples would all change: name a new folder")
    check_output(options.out or options.folder)
    if not options.patches:
        with folders.lock_folder(options.folder):
            plan = Plan.load(options.folder)
            announce_compilation()
            plan = builder.add_samples(plan, options.samples)
            folders.extend(options.folder, plan)
            found = render_shards(plan, options.folder, folders.find_missing(plan, options.folder), options)
        print_rendered(found, plan, options.folder)
        return
    plan = Plan.load(options.folder)
    loaded = load_patches(options.patches)
    announce_compilation()
    plan, refused = builder.add_patches(plan, loaded)
    for reason in refused:
        log.warning(reason)
    if options.samples:
        plan = builder.add_samples(plan, options.samples)
    with folders.lock_folder(options.out, new=True):
        folders.prepare(plan, options.out, overwrite=False)
    print_plan(plan, options.out, refused=refused)
