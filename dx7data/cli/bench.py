"""`dx7data bench`: how fast the engine is here."""

from argparse import Namespace

from dx7data.cli.inputs import announce_compilation, load_patches
from dx7data.cli.verb import Verbs, add_verb
from dx7data.output import print_result


def add_to(verbs: Verbs) -> None:
    bench = add_verb(verbs, "bench", run, "measure the engine's speed on one core, all cores and each GPU")
    bench.add_argument("--patches", nargs="+", default=["example"], metavar="PATH", help="default: the example bank")


def run(options: Namespace) -> None:
    from dx7data.engine import speed

    loaded = load_patches(options.patches)
    announce_compilation()
    print_result(speed.measure(loaded.patches), speed.describe)
