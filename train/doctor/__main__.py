"""`python -m train.doctor`."""

from dx7data.process import run_main
from train.doctor.report import main

run_main("train.doctor", main)
