"""`dx7data play`: patches on a keyboard and a panel, in a browser."""

from argparse import Namespace

from dx7data.cli import types
from dx7data.cli.inputs import announce_compilation, load_patches
from dx7data.cli.verb import Verbs, add_verb
from dx7data.output import log, print_result


def add_to(verbs: Verbs) -> None:
    play = add_verb(verbs, "play", run, "play and edit patches in a browser")
    play.add_argument(
        "--patches",
        required=True,
        nargs="+",
        metavar="PATH",
        help="SysEx files, exports, folders, zips; 'example' is the bank that comes with dx7data",
    )
    model = play.add_mutually_exclusive_group()
    model.add_argument(
        "--checkpoint", type=types.path, metavar="RUN", help="a run of python -m train: its model converts what you play"
    )
    model.add_argument(
        "--pretrained", metavar="NAME", help="the same with a model of the folder releases/, such as one-voice"
    )
    play.add_argument("--no-open", action="store_true", help="print the address and open no browser")
    play.set_defaults(stopped="stopped; what was not saved in the browser is gone")


def run(options: Namespace) -> None:
    import webbrowser

    from dx7data.page.play import conversion
    from dx7data.page.play.server import Instrument, open_server, warm_up

    bank = load_patches(options.patches)
    chosen = ("--checkpoint", options.checkpoint), ("--pretrained", options.pretrained)
    model = next((conversion.open_model(*option) for option in chosen if option[1]), None)
    announce_compilation()
    warm_up()
    server, address = open_server(Instrument(bank, model))
    with server:
        print_result({"address": address}, lambda found: [found["address"]])
        log.info("Only this computer can open this address. Ctrl-C ends it.")
        if not options.no_open and not webbrowser.open(address):
            log.warning("no browser could be opened: open the address above yourself")
        server.serve_forever()
