"""`python -m train.listen`: a page to hear a released model: sources, targets, and what the model makes of the sources.

They are the first clips of each of its validation sets, nobody has chosen them: phrases that are in no training sample, and,
of a model that hears patches, voices that are in none. The page is one file that needs no network.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal

import numpy as np
from markupsafe import Markup

from dx7data import process
from dx7data.errors import explain_os_errors
from dx7data.files import HTML, check_output, write_output
from dx7data.markup import html, join
from dx7data.output import print_result
from dx7data.page.head import fill_page
from train import release
from train.arguments import choose_device
from train.evaluation import metrics
from train.evaluation.evaluate import HeldOut, evaluate, generate
from train.options import parse, setting
from train.releases.reader import Pretrained, from_pretrained
from train.results import listening
from train.results.listening import Heard
from train.results.reader import Clip

CLIPS = 10  # of each set
_HEADINGS = {
    "val": "{} phrases that are in no training sample",
    "seen": "{} phrases that are in no training sample, in voices of training",
    "unseen": "{} voices of near-duplicate groups that are in no training sample",
}


@dataclass(frozen=True)
class ListenOptions:
    """Which model, and where its page is put."""

    pretrained: str = setting(help="a model of the folder releases/, such as one-voice, or one in ./FOLDER", metavar="NAME")
    live: str = setting(help="a folder with the plan of the data that it was trained on", metavar="FOLDER")
    out: Path = setting(Path("listen.html"), "the page", metavar="FILE")
    device: Literal["cpu", "cuda"] | None = setting(None, "where it is computed", shown="cuda if there is one")


class Predicted:
    """Some clips of a set, and what a model makes of their sources."""

    def __init__(self, found: Pretrained, one: HeldOut, device: str):
        self.set, self.voices, self.rate, target = one.name, one.voices, one.sample_rate, one.examples.target
        _, _, clips = evaluate(found.model, [one], len(one), device, how=found.decode)
        made = generate(found.model, one.examples, device, how=found.decode)
        self.bits = [clip["bits"] for clip in clips]
        self.snr_db = metrics.snr_db(made / 32768, target / 32768).tolist()
        silent = metrics.is_silent(target / 32768).tolist()
        self.figures = [
            f"{bits:.2f} bits a sample" + f", SNR {snr:z.1f} dB" * (not quiet)
            for bits, snr, quiet in zip(self.bits, self.snr_db, silent, strict=True)
        ]
        self.clips = [
            [Clip(audio.numpy(), self.rate) for audio in each]
            for each in zip(one.examples.source, target, made, strict=True)
        ]


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 0, 2 for a person's error, 130 for Ctrl-C."""

    def read_and_write() -> None:
        what = "Puts what a released model makes of phrases and voices that it has not met on a page."
        write(parse(ListenOptions, sys.argv[1:] if argv is None else argv, "train.listen", what))

    return process.run("train.listen", read_and_write, "stopped; nothing was written")


def write(options: ListenOptions) -> None:
    """Write the page. Raises InputError."""
    check_output(options.out, HTML)
    device = choose_device(options.device)
    found = from_pretrained(options.pretrained, device)
    _, sets = release.open_sets(found, options.live, CLIPS)
    predicted = [Predicted(found, one, device) for one in sets]
    text = make_page(Path(options.pretrained).name, found, predicted)
    with explain_os_errors(f"can't write the page to {options.out}"):
        write_output(options.out, HTML, lambda file: file.write(text.encode()))
    sets_found = {each.set: {"clips": len(each.clips), "bits": float(np.mean(each.bits))} for each in predicted}
    print_result(
        {"page": str(options.out), "decode": found.decode, "sets": sets_found},
        lambda facts: [f"Open it in a browser: {facts['page']}"],
        options.out,
    )


def make_page(name: str, found: Pretrained, predicted: list[Predicted]) -> str:
    """The HTML of a model and its predictions."""
    parameters = sum(parameter.numel() for parameter in found.model.parameters())
    facts = {
        "model": f"{found.settings.model_name}, {parameters:,} parameters",
        "steps of training": f"{found.step:,}",
        "prefix": found.settings.prefix or "none",
        "audio": f"mono, {found.settings.sample_rate} Hz",
        "--decode": found.decode,
    }
    return fill_page(
        Path(__file__).with_suffix(".html"),
        title=name,
        assets=Path(__file__).with_name("compare.html"),
        heading=name,
        about=html(
            "The <b>source</b> is a phrase of sine tones, the <b>target</b> is the same phrase played by a DX7 patch, and "
            "<b>{}</b> is what the model makes of the source. These are the first clips of each validation set: nobody has "
            "chosen them, and the model was not trained on them.",
            name,
        ),
        facts=join(html("<div><dt>{}</dt><dd>{}</dd></div>", *fact) for fact in facts.items()),
        samples=listening.fill_samples(
            join(_draw(name, predicted)),
            listening.identify_clips((name, clips) for each in predicted for clips in each.clips),
        ),
    )


def _draw(name: str, predicted: list[Predicted]) -> Iterator[Markup]:
    numbers = count()
    for each in predicted:
        yield html("<h2>{}</h2>", _HEADINGS[each.set].format(len(each.clips)))
        for voice, figures, clips in zip(each.voices, each.figures, each.clips, strict=True):
            number = next(numbers)
            names = {"source": "source", "target": "target", "prediction": name}
            heard = [
                Heard(key, shown, html("<b>{}</b>", shown), clip)
                for (key, shown), clip in zip(names.items(), clips, strict=True)
            ]
            title = html("{} {} <span>{}</span>", number + 1, voice, figures)
            yield listening.draw_sample(number, str(number + 1), title, heard)


if __name__ == "__main__":
    process.run_main("train.listen", main)
