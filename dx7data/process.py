"""How a program of this project begins and ends: an error is one sentence on stderr, and Ctrl-C leaves no traceback.

Only the standard library is imported here, so that Ctrl-C is answered before anything slow is loaded.
"""

import _thread
import contextlib
import errno
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

from dx7data.errors import Ending, make_printable

INTERRUPTED = 130  # the exit status of a program that Ctrl-C has stopped: 128 + SIGINT

_program = ""  # that run_main runs
_MAIN_THREAD = _thread.get_ident()  # the thread that imports this module first


def exit_on_interrupt() -> None:
    """From now on Ctrl-C ends this process at once: for the time in which modules are imported, when nothing can be lost.

    Not where Ctrl-C is ignored, as under nohup, or answered by somebody else.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit)


def run_main(name: str, main: Callable[[], int | None]) -> NoReturn:
    """Run a program and exit with its status, see `run`. A Ctrl-C leaves no traceback at any moment."""
    global _program
    _program = name
    exit_on_interrupt()
    _open_closed_streams()
    sys.unraisablehook = _raise_again
    answers = signal.getsignal(signal.SIGINT) is _exit

    def start() -> int | None:
        if answers:
            signal.signal(signal.SIGINT, _interrupt)
        return main()

    status = run(name, start)
    if answers:
        signal.signal(signal.SIGINT, _exit)  # while Python waits for threads and closes files
    sys.exit(status)


def run(name: str, call: Callable[[], int | None], stopped: str = "stopped") -> int:
    """The exit status of a call: what it returns; that of an Ending; 130 for Ctrl-C, after the sentence `stopped`."""
    try:
        status = call() or 0
        sys.stdout.flush()  # what can't be written must show here, not when Python ends
    except (KeyboardInterrupt, SystemError) as error:  # SystemError: from compiled code that Ctrl-C meets as it returns
        if not _comes_of_interrupt(error):
            raise
        return _end(f"{name}: {stopped}", INTERRUPTED)
    except Ending as error:
        return _end(f"{name}: {make_printable(error)}", error.status)
    except BrokenPipeError:  # `dx7data patches ls bank.syx | head`
        _drop_output()
        return 128 + signal.SIGPIPE if _has_no_reader(2) else 0  # nobody reads what was to be said: maybe not all is done
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        _drop_output()
        advice = "; free some space" if error.errno in _FULL else ""
        return _end(f"{name}: {error.filename or 'the output'} can't be written: {error.strerror}{advice}", 2)
    return status


_FULL = {errno.ENOSPC, errno.EDQUOT}
_UNWRITABLE = {*_FULL, errno.EBADF, errno.EIO, errno.EFBIG}  # what a print raises


def _comes_of_interrupt(error: BaseException | None) -> bool:
    while error and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__
    return error is not None


def _end(sentence: str, status: int) -> int:
    with contextlib.suppress(OSError):  # stderr may be on the same full disk
        print(sentence, file=sys.stderr)
    return status


def _open_closed_streams() -> None:
    """Of `>&-` and the like: else the next file that is opened takes their place, and gets what is said."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def _has_no_reader(descriptor: int) -> bool:
    """Whether it is a pipe whose other end is closed."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _drop_output() -> None:
    """What is still to be written to stdout goes nowhere: Python would try it again at its end, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# --- What Ctrl-C does ---


def _exit(*_: object) -> NoReturn:
    _remove_sockets()
    os._exit(INTERRUPTED)


def _remove_sockets() -> None:
    """The folder in /tmp where multiprocessing keeps the sockets of this process: one that ends at once leaves it there."""
    used = sys.modules.get("multiprocessing.process")
    if not used or used.parent_process():  # which may have made the folder, and need it
        return
    if folder := used.current_process()._config.get("tempdir"):  # as multiprocessing.util.get_temp_dir has it
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):
                os.unlink(os.path.join(folder, name))
            os.rmdir(folder)


def _interrupt(_: int, frame: FrameType | None) -> None:
    """As Python does, but for a module that is being imported, since some of them, in C, print a traceback or another error;
    and but for callbacks that must not raise, after which it comes again.
    """
    while frame:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            with contextlib.suppress(OSError):
                os.write(2, f"{_program}: stopped\n".encode())
            _exit()
        if frame.f_code.co_name in _CALLBACKS:
            _thread.start_new_thread(_interrupt_later, ())
            return
        frame = frame.f_back
    sys.unraisablehook = _raise_again_alone
    raise KeyboardInterrupt


# LLVM asks these, of llvmlite's ExecutionEngine, for compiled code. Python drops what they raise, and numba calls address 0.
_CALLBACKS = {"_raw_object_cache_getbuffer", "_raw_object_cache_notify"}


@contextlib.contextmanager
def hold_interrupt() -> Iterator[None]:
    """Within its block, a Ctrl-C waits for the end of it: where C++ calls Python and ends the process if that raises."""
    if _thread.get_ident() != _MAIN_THREAD or signal.getsignal(signal.SIGINT) is not _interrupt:
        yield
        return
    came: list[bool] = []
    signal.signal(signal.SIGINT, lambda *_: came.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, _interrupt)
    if came:
        _interrupt(signal.SIGINT, None)


def _raise_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """Python drops what is raised in a callback, of the garbage collector for example: a Ctrl-C comes again, after that."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        _thread.start_new_thread(_interrupt_later, ())
    else:
        sys.__unraisablehook__(unraisable)


def _raise_again_alone(unraisable: "sys.UnraisableHookArgs") -> None:
    """After a Ctrl-C: objects that it left half made fail once more when they are deleted, which nobody needs to read."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        _raise_again(unraisable)


def _interrupt_later() -> None:
    time.sleep(0.01)  # until the callback has returned
    signal.pthread_kill(_MAIN_THREAD, signal.SIGINT)  # unlike _thread.interrupt_main, this ends a wait as well
