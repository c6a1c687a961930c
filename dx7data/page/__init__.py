"""A page to look at and to listen to."""
