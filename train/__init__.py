"""Shards in, checkpoints out: rendering and training meet only at the files in a data-set folder."""

import sys

if sys.argv[:1] == ["-m"]:  # python -m train.NAME imports this first, and then torch for seconds
    from dx7data.process import exit_on_interrupt

    exit_on_interrupt()
