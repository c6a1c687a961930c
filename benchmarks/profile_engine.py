"""Where a core's time goes in the engine, and what bounds it.

    python benchmarks/profile_engine.py [--seconds 20]

perf samples the CPU time of a render (cpu-clock, which virtual machines have too), by function. The two loops that take the
most are timed alone, and llvm-mca says how many cycles they need on a core that has nothing else to do, from the
instructions that perf found hot. It takes all memory for the L1 cache. For Linux on x86-64, with perf, binutils and llvm.
"""

import argparse
import os
import re
import signal
import subprocess
import tempfile
import time
from bisect import bisect_right
from collections import Counter
from pathlib import Path

import llvmlite.binding
import numba
import numpy as np
from numba import njit

from dx7data import cache
from dx7data.engine import cpu
from dx7data.engine.control import CHUNK
from dx7data.engine.render import render
from dx7data.engine.speed import RATE, SECONDS, describe_machine, draw_voices
from dx7data.engine.tables import BLOCK
from dx7data.patches import bank

VOICES = 512
HERTZ = 2000  # of perf's samples
HOT = 0.1  # of the samples of a function: blocks of its code with fewer are not the loop
_operator, _loop_block = cpu._operator, cpu._loop_block


def ask(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


# --- perf ---


def sample(patches, seconds, folder):
    """Addresses that perf found, one for each sample, and the median CPU time of a render."""
    voices, out = draw_voices(patches, VOICES), np.zeros((VOICES, int(SECONDS * RATE)), np.int32)
    render(voices, SECONDS, out=out)
    data, took = folder / "perf.data", []
    command = ["perf", "record", "-e", "cpu-clock", "-F", str(HERTZ), "-p", str(os.getpid()), "-o", str(data)]
    perf = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(1)
    end = time.process_time() + seconds
    while time.process_time() < end:
        began = time.process_time()
        render(voices, SECONDS, out=out)
        took.append(time.process_time() - began)
    perf.send_signal(signal.SIGINT)
    perf.wait()
    return [int(line, 16) for line in ask("perf", "script", "-i", str(data), "-F", "ip").split()], np.median(took)


def list_functions(folder):
    """Name and first byte of each of the engine's functions in its code, in order; and the code, as it was compiled."""
    (kept,) = cache.folder().rglob("cpu._render*.nbc")
    data, compiled, text = kept.read_bytes(), folder / "object", folder / "text"
    compiled.write_bytes(data[data.index(b"\x7fELF") :])
    ask("objcopy", "-O", "binary", "-j", ".ltext", str(compiled), str(text))
    found = []
    for line in ask("nm", "-n", str(compiled)).splitlines():
        if match := re.search(r"^(\w+) [TW] .*?engine\d+(cpu|control)\d+(\w+?)B", line):
            found.append((int(match[1], 16), f"{match[2]}.{match[3]}"))
    return found, text.read_bytes()


def find_code(functions, text, folder):
    """Where this code lies in memory, and a file with its bytes as they are there. Mappings of files are not looked at."""
    first = next(start for start, name in functions if name == "cpu._operator")
    for each in Path("/proc/self/maps").read_text().splitlines():
        places, rights, *_, last = each.split()
        if "x" in rights and last == "0":
            begin, end = (int(x, 16) for x in places.split("-"))
            with open("/proc/self/mem", "rb") as memory:
                memory.seek(begin)
                there = memory.read(end - begin)
            if (at := there.find(text[first : first + 32]) - first) >= 0:
                (folder / "code").write_bytes(there[at : at + len(text)])
                return begin + at, folder / "code"
    raise SystemExit("the engine's code is not in this process's memory")


def print_shares(addresses, begin, size, functions):
    """CPU time by function."""
    starts = [start for start, _ in functions]
    counts = Counter()
    for address in addresses:
        inside = 0 <= address - begin < size
        counts[functions[bisect_right(starts, address - begin) - 1][1] if inside else "outside of the engine's loops"] += 1
    print("| function | CPU time |\n|---|---|")
    for name, count in counts.most_common():
        if count > 0.005 * len(addresses):
            print(f"| `{name}` | {100 * count / len(addresses):.1f} % |")


# --- llvm-mca ---


def find_hot(addresses, begin, code, functions, name):
    """The instructions of a function's hot blocks, without jumps."""
    place = next(i for i, each in enumerate(functions) if each[1] == name)
    first, end = functions[place][0], functions[place + 1][0]
    text = ask("objdump", "-D", "-b", "binary", "-mi386:x86-64", "--no-show-raw-insn", str(code))
    rows = [(int(at, 16), what) for at, what in re.findall(r"^ *([0-9a-f]+):\t(.*)$", text, re.M)]
    rows = [row for row in rows if first <= row[0] < end]
    targets = {int(each, 16) for _, what in rows for each in re.findall(r"^j\w+ +0x(\w+)", what)}
    blocks = [[]]
    for at, what in rows:
        if at in targets:
            blocks.append([])
        blocks[-1].append((at, what))
        if what.startswith("j"):
            blocks.append([])
    counts = Counter(address - begin for address in addresses)
    sums = [(sum(counts[at] for at, _ in block), block) for block in blocks]
    total = sum(count for count, _ in sums)
    hot = [what for count, block in sums if count > HOT * total for _, what in block]
    return [re.sub(r" *#.*", "", what) for what in hot if not re.match(r"j|call|ret|nop", what)]


def analyse(instructions):
    """Cycles of one pass over some instructions: with all that delays them, and if only the ports did."""
    command = ["llvm-mca", f"-mcpu={llvmlite.binding.get_host_cpu_name()}", "-mtriple=x86_64", "-iterations=200"]
    done = subprocess.run(command, input="\n".join(instructions), check=True, capture_output=True, text=True).stdout
    pressure = done.split("Resource pressure per iteration:")[1].splitlines()[1:3]
    names = dict(re.findall(r"^\[([\d.]+)\] +- (\w+)$", done, re.M))
    busy = {
        names[i]: float(x)
        for i, x in zip(re.findall(r"\[([\d.]+)\]", pressure[0]), pressure[1].split(), strict=True)
        if x != "-"
    }
    return int(re.search(r"Total Cycles: +(\d+)", done)[1]) / 200, float(re.search(r"RThroughput: ([\d.]+)", done)[1]), busy


# --- The loops alone ---


@njit
def chain(count):
    x = np.int64(3)
    for _ in range(count):
        x *= x  # 3 cycles, on every core of the last fifteen years
    return x


@njit
def play_operators(count, out, modulation, silent, phase, increment, gain):
    for i in range(count):
        _operator(out, np.int32(0), modulation, silent, phase, increment, gain, 0, i % 6)


@njit
def play_loops(count, output, phase, increment, gain, slope, shift, lanes):
    for _ in range(count):
        _loop_block(output, phase, increment, gain, slope, shift, lanes)


def measure(call, count, *arguments):
    """The least CPU time of one of `count` in 100 calls: others on the machine only lengthen it."""
    call(1, *arguments)
    took = []
    for _ in range(100):
        began = time.process_time()
        call(count, *arguments)
        took.append(time.process_time() - began)
    return min(took) / count


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="CPU time to sample (default: 20)")
    options = parser.parse_args()
    numba.set_num_threads(1)
    rng, found = np.random.default_rng(0), bank.load_example()
    print(f"{describe_machine()}; {llvmlite.binding.get_host_cpu_name()}; load average {os.getloadavg()[0]:.2f}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        addresses, took = sample(found.patches, options.seconds, folder)
        functions, text = list_functions(folder)
        begin, code = find_code(functions, text, folder)
        hot = {name: find_hot(addresses, begin, code, functions, name) for name in ("cpu._operator", "cpu._loop_block")}
    written = VOICES * SECONDS * RATE / took
    print(f"{VOICES} voices, {SECONDS:g} s, into a given array: {took:.3f} s of CPU, {written / 1e6:,.0f} Msamples/s\n")
    print_shares(addresses, begin, len(text), functions)

    phases = rng.integers(-(2**31), 2**31, (3, 6, CHUNK + 1), np.int32)
    steps, gains = rng.integers(0, 2**24, phases.shape, np.int32), rng.integers(0, 4000, phases.shape, np.int32)
    block = rng.integers(-8000, 8000, (CHUNK, BLOCK), np.int32)
    operator = measure(play_operators, 100, np.empty_like(block), block, np.zeros(CHUNK, np.bool_), phases, steps, gains)
    lanes = [rng.integers(0, most, (3, cpu.GROUP), np.int32) for most in (2**31 - 1, 2**24, 4000)]
    zeros, memory = np.zeros(cpu.GROUP, np.int32), np.zeros((BLOCK + 2, cpu.GROUP), np.int32)
    loop = measure(play_loops, 1000, memory, *lanes, zeros, zeros + 3, np.array([0, cpu.GROUP, 0, 0]))
    hertz = 3 / measure(chain, 100_000)
    print(f"\n{hertz / 1e9:.2f} GHz (a chain of multiplications)\n")
    print("| loop | ns a sample | cycles | llvm-mca | ports alone | instructions |\n|---|---|---|---|---|---|")
    width = 16 if any("%zmm" in each for each in hot["cpu._loop_block"]) else 8
    for name, each, samples in (
        ("cpu._operator", operator / CHUNK / BLOCK, BLOCK),
        ("cpu._loop_block", loop / BLOCK / cpu.GROUP, width),
    ):
        cycles, ports, busy = analyse(hot[name])
        print(
            f"| `{name}` | {1e9 * each:.2f} | {each * hertz:.2f} | {cycles / samples:.2f} | {ports / samples:.2f} "
            f"| {len(hot[name]) / samples:.1f} |"
        )
        most = sorted(busy.items(), key=lambda item: -item[1])[:6]
        print(
            f"{name}: {len(hot[name])} instructions, busy: "
            + ", ".join(f"{port} {100 * x / cycles:.0f} %" for port, x in most)
        )
    big = np.zeros(1 << 25, np.int64)
    filled = big.nbytes / measure(lambda count: [big.fill(i) for i in range(count)], 1)
    print(f"\nMemory: the engine writes {4 * written / 1e9:.2f} GB/s, a core can fill {filled / 1e9:.1f} GB/s")


if __name__ == "__main__":
    main()
