"""The program `dx7data`, also as `python -m dx7data`."""

from typing import NoReturn

from dx7data.process import exit_on_interrupt, run_main

exit_on_interrupt()


def main() -> NoReturn:
    """Run the command of sys.argv, and exit."""

    def call() -> int:
        from dx7data import cli  # only now, when Ctrl-C is answered

        return cli.main()

    run_main("dx7data", call)


if __name__ == "__main__":
    main()
