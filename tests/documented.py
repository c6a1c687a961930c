"""What docs/output.md says of the JSON of each command, to be compared with what it prints."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "output.md"


def read_keys(command):
    """The keys in a command's table, such as `folder` and `rows[].name`."""
    section = re.search(rf"^## {re.escape(command)}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.S | re.M)[1]
    rows = re.findall(r"^\| (`.*?) \|", section, re.M)
    return [key for row in rows for key in re.findall(r"`([^`]+)`", row)]


def check(command, document, without=(), more=()):
    """All keys of a document are in the table and the other way round; of lists those of each entry.

    without: keys that this document does not have; more: keys that only the text above the table names.
    """
    documented = read_keys(command)
    assert document.keys() == {key.partition("[")[0] for key in documented} - set(without) | set(more)
    for name in {key.partition("[")[0] for key in documented if "[]." in key}:
        keys = {key.partition("[].")[2] for key in documented if key.startswith(f"{name}[].")}
        assert document[name], f"nothing in {name} to compare with"
        assert all(entry.keys() == keys for entry in document[name])
