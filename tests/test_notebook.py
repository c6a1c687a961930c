"""docs/quickstart.ipynb runs from its first cell to its last, as somebody would run it."""

from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.integration
def test_quick_start(tmp_path, monkeypatch):
    for name in ("train", "models", "dx7data"):  # what it finds in a checkout; what it writes goes beside them
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "docs").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    notebook = nbformat.read(ROOT / "docs" / "quickstart.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": tmp_path / "docs"}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [kind for output in outputs for kind in output.get("data", {})]
    assert shown.count("text/html") == 4  # two players, two samples
    assert "image/png" in shown
    assert (tmp_path / "quickstart-converted.wav").stat().st_size > 1000
