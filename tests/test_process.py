"""Programs end with a status and at most one sentence: errors, Ctrl-C at any moment of their start, pipes, full disks."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dx7data import process
from dx7data.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
RENDER = ["dx7data", "render", "--patches", "example", "--samples", "2000", "--out"]
TRAIN = [f"train.{name}" for name in ("study", "convert", "compare", "baselines", "timescales", "doctor", "wheels")]


def interrupt(arguments, seconds):
    """Status and stderr of python -m ARGUMENTS, to whose process group Ctrl-C came so long after our first module."""
    command = [sys.executable, "-X", "importtime", "-m", *map(str, arguments)]  # a line on stderr for each module
    program = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, process_group=0
    )
    lines, ours = [], threading.Event()

    def read():
        for line in program.stderr:
            if line.startswith("import time:"):
                if line.rstrip().endswith(("dx7data.process", " train")):
                    ours.set()
            else:
                lines.append(line)
        ours.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert ours.wait(120)
    time.sleep(seconds)
    if program.poll() is None:
        os.killpg(program.pid, signal.SIGINT)
    status = program.wait(120)
    reader.join(120)
    return status, "".join(lines)


@pytest.mark.parametrize("seed", range(6))
def test_ctrl_c_while_rendering_begins(tmp_path, seed):
    status, text = interrupt([*RENDER, tmp_path / "out", "--workers", 2], random.Random(seed).uniform(0.02, 3))
    assert status == 130
    assert "Traceback" not in text
    assert "KeyboardInterrupt" not in text


@pytest.mark.parametrize("name", TRAIN)
def test_ctrl_c_while_torch_is_imported(name, tmp_path):
    status, text = interrupt([name], random.Random(name).uniform(0.02, 0.5))
    assert status == 130
    assert text in ("", f"{name}: stopped\n")  # it may be over with the imports, and at work


def test_ctrl_c_while_training_begins(tmp_path):
    for seconds in (0.05, 0.7):
        status, text = interrupt(["train", "--shards", tmp_path], seconds)
        assert status == 130
        assert text in ("", "train: stopped\n")  # before the program has its name, there is nobody to say it


def python(code, **more):
    code = f"import sys; from dx7data.process import *; from dx7data.errors import *\n{code}"
    return subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, timeout=60, **more)


def test_ctrl_c_in_compiled_code(capsys):
    """CPython's own words for what numba returns when a signal comes at its end."""

    def stop():
        try:
            raise SystemError("_numba_unpickle returned a result with an exception set") from KeyboardInterrupt()
        except SystemError as error:
            raise SystemError("CPUDispatcher returned a result with an exception set") from error

    assert process.run("sky", stop) == 130
    assert capsys.readouterr().err == "sky: stopped\n"


def test_statuses(capsys):
    def refuse():
        raise InputError("the sky is green; make it blue")

    assert process.run("sky", refuse) == 2
    assert capsys.readouterr().err == "sky: the sky is green; make it blue\n"
    assert [process.run("x", lambda status=status: status) for status in (None, 0, 3)] == [0, 0, 3]


def test_ctrl_c_in_a_callback_is_not_lost():
    """Python reports and forgets what a finalizer raises; it comes again at once, though the program only waits."""
    begin = time.monotonic()
    done = python(
        "import signal, weakref, time\n"
        "class Thing: pass\n"
        "def main():\n"
        "    thing = Thing()\n"
        "    weakref.finalize(thing, lambda: 0)\n"
        "    reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))\n"
        "    del thing\n"
        "    time.sleep(30)\n"
        "run_main('x', main)"
    )
    assert (done.returncode, done.stderr) == (130, "x: stopped\n")
    assert time.monotonic() - begin < 20


def test_ctrl_c_while_compiled_code_is_loaded(tmp_path):
    """LLVM asks for it in a callback: what is raised there is dropped, and numba jumped to address 0 (SIGSEGV)."""
    (tmp_path / "sky.py").write_text("import numba\n\n\n@numba.njit(cache=True)\ndef blue(x):\n    return x + 1\n")
    code = (
        "import signal, time\n"
        "from numba.core.codegen import CPUCodeLibrary\n"
        "read, numbers = CPUCodeLibrary._object_getbuffer_hook, []\n"
        "def interrupt(cls, *given):\n"
        "    for number in numbers: signal.raise_signal(number)\n"
        "    return read(*given)\n"
        "CPUCodeLibrary._object_getbuffer_hook = classmethod(interrupt)\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "from sky import blue\n"
        "def stop():\n"
        "    blue(1)\n"  # modules of numba are imported
        "    numbers.append(signal.SIGINT)\n"
        "    blue(1.0)\n"
        "    time.sleep(30)\n"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = [python(f"{code}run_main('x', {main})", env=environment) for main in ("lambda: blue(1) + blue(1.0) - 4", "stop")]
    assert [(each.returncode, each.stderr) for each in done] == [(0, ""), (130, "x: stopped\n")]


def test_ctrl_c_while_memory_is_estimated():
    """PyTorch calls Python for each operation on a fake tensor, and aborts if that raises."""
    done = python(
        "import signal\n"
        "import torch\n"
        "from models import memory, registry\n"
        "from dx7data.process import hold_interrupt\n"
        "class Interrupted(memory.Allocated):\n"
        "    def __torch_dispatch__(self, *given):\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "        return super().__torch_dispatch__(*given)\n"
        "memory.Allocated = Interrupted\n"
        "def main():\n"
        "    with hold_interrupt():\n"
        "        memory.check_memory(registry.preset('s4d', 'tiny'), 1, 99)\n"
        "run_main('x', main)",
        cwd=ROOT,
    )
    assert (done.returncode, done.stderr) == (130, "x: stopped\n")


@pytest.mark.parametrize("importing", [True, False])
def test_ctrl_c_leaves_no_sockets(tmp_path, importing):
    """Also when it ends the process at once, as while modules are imported."""
    (tmp_path / "slow.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    code = (
        "import multiprocessing.util, signal\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "def main():\n"
        "    open(multiprocessing.util.get_temp_dir() + '/listener', 'w')\n"
        f"    {'import slow' if importing else 'signal.raise_signal(signal.SIGINT)'}\n"
        "run_main('x', main)"
    )
    done = python(code, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert (done.returncode, done.stderr) == (130, "x: stopped\n")
    assert not list(tmp_path.glob("pymp-*"))


def test_ctrl_c_in_a_half_made_object():
    """Its __del__ fails, which is not said."""
    done = python(
        "import signal\n"
        "class Thing:\n"
        "    def __init__(self):\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "        self.place = 1\n"
        "    def __del__(self):\n"
        "        self.place\n"
        "run_main('x', Thing)"
    )
    assert (done.returncode, done.stderr) == (130, "x: stopped\n")


def test_ctrl_c_stays_ignored_where_it_is():
    code = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    code += "run_main('x', lambda: signal.raise_signal(signal.SIGINT))"
    assert (done := python(code)).returncode == 0, done.stderr


def test_a_library_that_is_imported_leaves_ctrl_c_alone():
    code = "import signal, dx7data.cli, train.compare; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "True\n"


def test_a_closed_pipe():
    command = f"{sys.executable} -m dx7data patches ls example 2> /dev/null | true; exit ${{PIPESTATUS[0]}}"
    assert subprocess.run(["bash", "-c", command], cwd=ROOT, stderr=subprocess.PIPE).stderr == b""
    with open("/dev/full", "w") as full:
        done = python("run_main('x', lambda: print('a' * 100))", stdout=full)
    assert (done.returncode, done.stderr) == (
        2,
        "x: the output can't be written: No space left on device; free some space\n",
    )


@pytest.mark.parametrize(
    ("command", "streams", "status", "said"),
    [
        ("patches ls example", ">&-", 0, ""),
        ("patches ls example", ">/dev/full", 2, "dx7data: the output can't be written: No space left on device"),
        ("patches ls example", "1</dev/null", 2, "dx7data: the output can't be written: Bad file descriptor"),
        ("patches ls example", "2>/dev/full", 2, ""),
        ("wav --patch example:1 --seconds 0.1 --out OUT", ">&- 2>&- <&-", 0, ""),
        ("wav --patch example:1 --seconds 0.1 --out /dev/full", "", 2, "dx7data: can't write /dev/full: No space left"),
    ],
)
def test_streams_that_are_closed_or_full(tmp_path, command, streams, status, said):
    command = command.replace("OUT", str(tmp_path / "out.wav"))
    found = subprocess.run(
        f"{sys.executable} -m dx7data {command} {streams}", shell=True, capture_output=True, text=True, timeout=100
    )
    assert found.returncode == status, found.stderr
    assert said in found.stderr
    assert "Traceback" not in found.stderr
    if "out.wav" in command:
        assert (tmp_path / "out.wav").read_bytes()[:4] == b"RIFF", "and not something that was printed"


def test_a_command_that_nobody_listens_to_says_that_it_was_cut_short():
    """What went to stderr may have been a warning: the status is that of SIGPIPE, not 0."""
    command = f"{sys.executable} -m dx7data patches ls example"
    process = subprocess.Popen(command.split(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    process.stderr.close()
    assert process.wait(100) == 141
