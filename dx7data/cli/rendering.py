"""`dx7data render`: from the options of the command line to a plan, and from the plan to shards.

Imports that take time are inside the functions, after the workers have begun to load theirs.
"""

import sys
import time
from importlib.util import find_spec

from dx7data.cli import music
from dx7data.cli.commands import announce_compilation, check_rate, load
from dx7data.errors import InputError
from dx7data.patches.report import make_printable

_WORTH_A_GPU = 3600  # seconds of clips from which on "auto" takes a GPU: it needs some seconds to begin


def render(options) -> None:
    """`dx7data render`: patches in, shards out."""
    if not options.dry_run:
        _start_early(options)
        _check_devices(options.device)
    if not options.out and not options.plan:
        raise InputError("--out says where the shards go: name a folder")
    if options.plan:
        from dx7data.plan.plan import Plan

        plan = Plan.load(options.plan)
        announce_compilation()
    else:
        plan = make_plan(options)
    if options.dry_run:
        print(_estimate(plan, options))
        return
    from dx7data.dataset import folders

    folder = options.out or options.plan
    missing = folders.prepare(plan, folder, options.overwrite)
    if options.only or options.job:
        missing = _select(plan, missing, options)
    else:
        folders.remove_partial(folder)
    _render(plan, folder, missing, options)
    if not (folder / "index.json").exists():
        print(f"More shards are to come; then `dx7data verify {folder}` checks them all and writes index.json")


def _start_early(options) -> None:
    """Let the workers begin to load what they need."""
    from dx7data.dataset import executors

    workers = options.workers or executors.count_workers()
    executors.start_early(workers, options.device != executors.CPU and find_spec("numba_cuda") is not None)


def _check_devices(asked: tuple[str, ...]) -> None:
    """Before anything else is done: can the GPUs that are asked for be used?"""
    from dx7data.engine.device import choose

    for device in asked:
        if device != "auto":
            choose(device)


def _choose_devices(asked: tuple[str, ...], seconds: float) -> tuple[str, ...]:
    """The devices to render so many seconds of clips on."""
    from dx7data.dataset import executors
    from dx7data.engine.device import choose

    if asked != ("auto",):
        return asked
    gpu = choose("auto") if seconds >= _WORTH_A_GPU else None
    return executors.CPU if gpu is None else (f"cuda:{gpu}",)


def _render(plan, folder, missing: list, options) -> None:
    from dx7data import cache
    from dx7data.dataset import executors, folders
    from dx7data.plan import sample

    devices = _choose_devices(options.device, sum(each.count for each in missing) * plan.spec.seconds)
    workers = options.workers or executors.count_workers(devices)
    if devices != executors.CPU and not cache.is_warm("clips_cuda"):
        print("Compiling the engine for the GPU, once: about 15 seconds", file=sys.stderr)
        sample.render_samples(plan, [(plan.shards()[0].split, 0)], devices[0])  # here, lest each worker does it
    print(f"Rendering on {', '.join(devices)}", file=sys.stderr)
    with _open_bar(plan, missing) as bar:
        folders.render_missing(plan, folder, missing, workers, lambda count: _advance(bar, count, plan), devices)
    print(make_printable(f"{len(missing)} shards written, {len(plan.shards()) - len(missing)} others: {folder}"))
    print(make_printable(f"Look at them: dx7data inspect {folder}"))


def _select(plan, missing: list, options) -> list:
    """Of the missing shards those that --only or --job asks for."""
    shards, still = plan.shards(), set(missing)
    if options.job:
        number, of = options.job
        return [each for each in shards[number - 1 :: of] if each in still]
    split, number = options.only
    chosen = [each for each in shards if (each.split, each.number) == (split, number)]
    if not chosen:
        raise InputError(f"--only {split}/{number:06d}: {split} has {sum(each.split == split for each in shards)} shards")
    return [each for each in chosen if each in still]


def plan(options) -> None:
    """`dx7data plan`: what `render` would write before the first shard."""
    from dx7data.dataset import folders

    plan = make_plan(options)
    folders.prepare(plan, options.out, options.overwrite)
    print(f"The plan is in {options.out}: dx7data render --plan {options.out}")


def extend(options) -> None:
    """`dx7data extend`: more samples in the same folder, or more patches in the plan of a new one."""
    from dx7data.dataset import folders
    from dx7data.plan import builder
    from dx7data.plan.plan import Plan

    if options.samples and not options.patches:
        _start_early(options)
    _check_devices(options.device)
    if not options.samples and not options.patches:
        raise InputError("there is nothing to add: ask for more --samples N, or name more --patches")
    if bool(options.patches) != bool(options.out):
        raise InputError("new patches change all samples, so --patches needs --out, a new folder, and only --patches does")
    if options.patches and options.out.resolve() == options.folder.resolve():
        raise InputError(f"--out {options.out} is the data set itself, whose samples would all change: name a new folder")
    plan = Plan.load(options.folder)
    loaded = load(options.patches) if options.patches else None
    announce_compilation()
    if options.patches:
        plan, refused = builder.add_patches(plan, loaded)
        for reason in refused:
            print(reason, file=sys.stderr)
    if options.samples:
        plan = builder.add_samples(plan, options.samples)
    if options.patches:
        _announce(plan, False)
        folders.prepare(plan, options.out, overwrite=False)
        print(f"The plan is in {options.out}: dx7data render --plan {options.out}")
        return
    folders.extend(options.folder, plan)
    _render(plan, options.folder, folders.find_missing(plan, options.folder), options)


def make_plan(options):
    """The plan that the options ask for; says what it is."""
    from dx7data.patches import bank
    from dx7data.plan import builder

    _check(options)
    asked = _make_spec(options)
    phrases, met = music.load(options, asked)
    loaded = load(options.patches, options.report, options.dedupe, met) if options.patches else bank.load([])
    targets = None if "all" in options.targets else bank.choose(loaded, options.targets)
    held_out = bank.read_list(loaded, options.hold_out) if options.hold_out else set()
    announce_compilation()
    samples = options.samples or max(1000, 100 * (len(loaded.ids) + options.random_patches + options.perturb))
    plan = builder.make_plan(loaded, asked, samples, options.per_patch, targets, phrases, held_out)
    _announce(plan, options.samples is None and options.per_patch is None)
    return plan


def _check(options) -> None:
    """Options that have no meaning without another."""
    check_rate(options.sample_rate)
    for option in ("midi", "phrases"):
        if options.kinds and getattr(options, option):
            raise InputError(f"--kinds chooses among drawn phrases: leave out --{option}")
    if options.beats and not options.midi:
        raise InputError("--beats says where MIDI files are cut: add --midi")
    if options.bpm and not options.phrases:
        raise InputError("--bpm is the tempo of a table in beats: add --phrases")
    if len(set(options.prefix)) < len(options.prefix) or ("none" in options.prefix and len(options.prefix) > 1):
        raise InputError(f"--prefix {' '.join(options.prefix)}: name each codec once, or none alone")
    if options.prefix != ["none"]:
        from dx7data import prefix

        if unknown := [codec for codec in options.prefix if codec not in prefix.CODECS]:
            raise InputError(f"--prefix {unknown[0]} is no codec: take some of {', '.join(sorted(prefix.CODECS))}, or none")
    if not options.patches and not options.random_patches:
        raise InputError("there is nothing to render: name files with --patches, or ask for --random-patches N")


def _make_spec(options):
    from dx7data.patches import bank, patch
    from dx7data.phrases import filters
    from dx7data.plan import spec

    source = options.source
    if source != spec.RANDOM_SOURCE:
        own = {"sine": patch.SINE, "sine-flat": patch.SINE_FLAT}
        source = patch.pack(own[source] if source in own else bank.pick(source)).tobytes().hex()
    return spec.Spec(
        seconds=options.seconds,
        sample_rate=options.sample_rate,
        seed=options.seed,
        source=source,
        split=options.split,
        split_by=options.split_by,
        gain=options.gain,
        keep_silent=options.keep_silent,
        shard_bytes=options.shard_size,
        layers=options.layers,
        pairs=options.pairs,
        perturb=options.perturb,
        random_patches=options.random_patches,
        prefixes=tuple(sorted(codec for codec in options.prefix if codec != "none")),
        kinds=options.kinds,
        filters=filters.Filters(**{name: value for name in filters.NAMES if (value := getattr(options, name)) is not None}),
    )


def _announce(plan, by_default: bool) -> None:
    """Say what a plan is, and what is wrong with it."""
    from dx7data.plan import hidden

    print(_describe(plan, by_default))
    for warning in hidden.list_warnings(plan):
        print(warning, file=sys.stderr)


def _describe(plan, by_default: bool) -> str:
    from collections import Counter

    from dx7data.plan import hidden, split

    spec = plan.spec
    total = sum(plan.counts.values())
    kinds = Counter(kind for kind, target in zip(plan.patches.kinds, plan.patches.targets, strict=True) if target)
    targets = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items()) if len(kinds) > 1 else f"{kinds.total():,}"
    splits = ", ".join(f"{split} {count:,}" for split, count in plan.counts.items())
    lines = [
        f"{total:,} pairs of {spec.seconds:g} s at {spec.sample_rate} Hz from {targets} patches"
        + (f" and {len(plan.phrases):,} phrases" if plan.phrases else "")
        + f": {splits}"
        + (" (--samples chooses another number)" if by_default else "")
    ]
    lines.append(split.describe(plan.split_report))
    lines += [line[0].upper() + line[1:] for line in hidden.describe(plan.hidden)]
    if plan.silent:
        names = ", ".join(each["name"] for each in plan.silent[:8]) + (", ..." if len(plan.silent) > 8 else "")
        lines.append(
            f"Left out, silent on notes 36, 60 and 84: {len(plan.silent)} patches ({names}); --keep-silent keeps them"
        )
    return "\n".join(lines)


def _estimate(plan, options) -> str:
    from dx7data.dataset import executors
    from dx7data.plan import sample

    workers = options.workers or executors.count_workers()
    first = plan.shards()[0]
    places = [(first.split, j) for j in range(min(sample.batch_size(plan), first.count))]
    sample.render_samples(plan, places[:1])
    began = time.perf_counter()
    members = [each.members() for each in sample.render_samples(plan, places)]
    each_takes = (time.perf_counter() - began) / len(members)
    size = sum(1024 + len(data) for _, data in members[0])
    total = sum(plan.counts.values())
    return (
        f"{total * plan.spec.seconds / 3600:.2f} hours of target audio, about {total * size / 1e6:,.0f} MB in "
        f"{len(plan.shards())} shards, about {total * each_takes / workers:,.0f} s with {workers} workers on the CPU. "
        "Nothing was written."
    )


def _open_bar(plan, missing):
    from tqdm import tqdm

    total = sum(plan.counts.values())
    there = total - sum(each.count for each in missing)
    return tqdm(total=total, initial=there, unit=" samples", file=sys.stderr, smoothing=0.1)


def _advance(bar, count: int, plan) -> None:
    bar.update(count)
    rate = bar.format_dict["rate"] or (bar.n - bar.initial) / max(bar.format_dict["elapsed"], 1e-9)
    bar.set_postfix_str(f"{rate * plan.spec.seconds:,.0f} x real time", refresh=False)
