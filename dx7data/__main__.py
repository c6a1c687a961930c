"""`python -m dx7data`: the same as `dx7data`."""

import sys

from dx7data.cli import main

sys.exit(main())
