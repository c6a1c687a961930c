"""The error that is a person's to mend."""


class InputError(Exception):
    """One clear sentence about a wrong input; the command line prints it and exits with status 2."""
