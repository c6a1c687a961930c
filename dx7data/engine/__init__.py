"""A patch and a note become integers."""
