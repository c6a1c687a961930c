"""What a person gets to read when their input cannot be used."""


class InputError(Exception):
    """One clear sentence about a wrong input; the command line prints it and exits with status 2."""
