"""The command that installs an extra: another in a checkout than in an installed package."""

import subprocess
import sys
from pathlib import Path

import pytest

from dx7data import errors

SOURCE = Path(errors.__file__).read_text()


@pytest.mark.parametrize(
    ("beside", "command"), [(["pyproject.toml"], "pip install -e '.[s3]'"), ([], "pip install 'dx7data[s3]'")]
)
def test_suggest_install(beside, command, tmp_path):
    (tmp_path / "dx7data").mkdir()
    (tmp_path / "dx7data" / "__init__.py").touch()
    (tmp_path / "dx7data" / "errors.py").write_text(SOURCE)
    for name in beside:
        (tmp_path / name).touch()
    script = "from dx7data import errors; print(errors.suggest_install('s3'))"
    found = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout == command + "\n"


def test_all_sentences_ask_for_the_command():
    """A command written out would be wrong in one of the two."""
    root = Path(errors.__file__).parents[1]
    written = [path for name in ("dx7data", "models", "train") for path in (root / name).rglob("*.py")]
    assert [path.name for path in written if "pip install" in path.read_text()] == ["errors.py"]
