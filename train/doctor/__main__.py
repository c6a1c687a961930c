"""`python -m train.doctor`."""

import sys

from train.doctor.report import main

sys.exit(main())
