"""Two processes at once: one changes a folder, the other waits a moment or is refused in a sentence; readers never wait."""

import random
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from dx7data import cli
from dx7data.dataset import verify
from dx7data.errors import InputError
from dx7data.storage import lock

PLAN = ["plan", "--patches", "example", "--samples", "24", "--seconds", "0.25", "--shard-size", "50kB"]


@pytest.fixture
def planned(tmp_path):
    assert cli.main([*PLAN, "--out", str(tmp_path / "out")]) == 0
    return tmp_path / "out"


@pytest.fixture
def whole(planned):
    assert cli.main(["render", "--plan", str(planned), "--workers", "1"]) == 0
    return planned


@contextmanager
def another_process(folder, shared=False):
    """It holds the lock until the block ends, by a kill."""
    code = (
        "import sys, time; from pathlib import Path; from dx7data.storage.lock import lock\n"
        f"with lock(Path(sys.argv[1]), {shared}): print('held', flush=True); time.sleep(100)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        yield
    finally:
        process.kill()
        process.communicate()


CHANGES = {
    "render": ["render", "--plan", "FOLDER", "--workers", "1"],
    "a job": ["render", "--plan", "FOLDER", "--job", "1/2", "--workers", "1"],
    "overwrite": ["render", "--plan", "FOLDER", "--overwrite", "--workers", "1"],
    "plan": [*PLAN, "--out", "FOLDER", "--overwrite"],
    "extend": ["extend", "FOLDER", "--samples", "30", "--workers", "1"],
    "fix": ["verify", "FOLDER", "--fix"],
}
READERS = {
    "inspect": ["inspect", "FOLDER"],
    "page": ["inspect", "FOLDER", "--html", "FOLDER/../page.html"],
    "verify": ["verify", "FOLDER"],
    "dry run": ["render", "--plan", "FOLDER", "--dry-run"],
}


def run(words, folder):
    return cli.main([word.replace("FOLDER", str(folder)) for word in words])


@pytest.mark.parametrize("name", CHANGES)
def test_a_second_one_is_refused_by_name(whole, capsys, monkeypatch, name):
    monkeypatch.setattr(lock, "_PATIENCE", 0.1)
    before = sorted((path.name, path.read_bytes()) for path in whole.iterdir())
    capsys.readouterr()
    with another_process(whole):
        assert run(CHANGES[name], whole) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dx7data:")]
    assert f"mends {whole}" in line
    (whole / lock.NAME).unlink(missing_ok=True)  # of the process that was killed
    assert sorted((path.name, path.read_bytes()) for path in whole.iterdir()) == before


@pytest.mark.parametrize("name", READERS)
def test_readers_are_not_disturbed(whole, name):
    with another_process(whole):
        assert run(READERS[name], whole) == 0


def test_jobs_share(planned):
    with another_process(planned, shared=True):
        assert run(CHANGES["a job"], planned) == 0
        with pytest.raises(InputError), lock.lock(planned):
            pass
    assert run(["render", "--plan", "FOLDER", "--job", "2/2", "--workers", "1"], planned) == 0
    assert run(["verify", "FOLDER"], planned) == 0


def test_a_lock_is_gone_with_its_process(planned):
    with another_process(planned):
        pass
    began = time.monotonic()
    with lock.lock(planned):
        assert time.monotonic() - began < 1
        assert (planned / lock.NAME).exists()
    assert not (planned / lock.NAME).exists()


def test_many_processes_hold_it_in_turn(tmp_path):
    """Each adds a line to a file in two parts: no two are ever between them, though the lock's file comes and goes."""
    code = (
        "import sys, time; from pathlib import Path; from dx7data.storage import lock\n"
        "folder = Path(sys.argv[1]); lock._PATIENCE = 100\n"
        "for i in range(20):\n"
        "    with lock.lock(folder), open(folder / 'log', 'a') as log:\n"
        "        log.write('('); log.flush(); time.sleep(0.002); log.write(')'); log.flush()\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(4)]
    assert [process.wait(100) for process in processes] == [0] * 4
    assert (tmp_path / "log").read_text() == "()" * 80


@pytest.mark.parametrize("damaged", [True, False])
def test_what_is_said_of_a_mended_folder_is_found_before_others_may_change_it(whole, monkeypatch, damaged):
    """Else what an `--overwrite` has removed by then would be what is left of the damage."""
    held = []

    def note_lock(function):
        return lambda *given: held.append((whole / lock.NAME).exists()) or function(*given)

    for name in ("verify", "list_remarks", "describe_checks"):
        monkeypatch.setattr(verify, name, note_lock(getattr(verify, name)))
    if damaged:
        (whole / "train-000000.tar").write_bytes(b"damaged")
    assert cli.main(["verify", str(whole), "--fix"]) == 0
    assert held == [True, True, True]


def test_the_lock_of_another_is_no_remark(whole, capsys):
    with another_process(whole):
        assert cli.main(["verify", str(whole)]) == 0
    assert "note: " not in capsys.readouterr().out


def test_a_folder_of_something_else_gets_no_lock(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert run(["verify", "FOLDER", "--fix"], tmp_path) == 2
    assert run(["extend", "FOLDER", "--samples", "30"], tmp_path) == 2
    assert run([*PLAN, "--out", "FOLDER"], tmp_path) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_without_locks(planned, monkeypatch):
    """Some network file systems have none: then as if nobody else were there."""

    def refuse(*_):
        raise OSError("no locks available")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    assert run(CHANGES["render"], planned) == 0


@pytest.mark.parametrize("second", ["render", "overwrite", "extend", "fix"])
def test_races(planned, second):
    """Two real commands; the campaign has all pairs, ten times each."""
    words = [
        [sys.executable, "-m", "dx7data", *(word.replace("FOLDER", str(planned)) for word in CHANGES[name])]
        for name in ("render", second)
    ]
    first = subprocess.Popen(words[0], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    time.sleep(random.Random(second).uniform(0, 0.5))
    other = subprocess.Popen(words[1], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for process in (first, other):
        said = process.communicate(timeout=100)[1]
        assert process.returncode in (0, 2), said
        assert "Traceback" not in said
        assert process.returncode == 0 or str(planned) in said.splitlines()[-1]
    assert run(CHANGES["render"], planned) == 0
    assert run(["verify", "FOLDER"], planned) == 0
    assert not [path.name for path in planned.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("part", [("--job", "2/2"), ("--only", "train/000000")])
def test_a_job_does_not_remove_what_others_made(planned, part):
    assert run(CHANGES["a job"], planned) == 0
    before = sorted(path.name for path in planned.iterdir())
    assert run(["render", "--plan", "FOLDER", *part, "--overwrite", "--workers", "1"], planned) == 2
    assert sorted(path.name for path in planned.iterdir()) == before
