"""A page to look at and to listen to, and one to play on."""
