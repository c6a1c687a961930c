"""Many files to unique patches, each with where it came from; one patch by reference; patches to files.

Takes .syx files, folders and zips, gives a Bank. What cannot be read becomes a line of its report, never an exception.
"""

import hashlib
import json
import lzma
import os
import re
import stat
import tomllib
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

import numpy as np

from dx7data import patch as patches_, sysex
