"""A clip in HTML, to see and to listen to: its waveform as SVG, its audio in the document itself."""

import base64

import numpy as np
from markupsafe import Markup

from dx7data.audio.wav import encode_wav
from dx7data.markup import html
from dx7data.svg import make_svg

_COLUMNS = 300  # of a waveform


def encode_data_uri(kind: str, content: bytes) -> str:
    """Some content in place of an address; kind: its media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def draw_waveform(audio: np.ndarray, style: str = "") -> Markup:
    """Between the lowest and highest value of each column, scaled to the clip's own peak; SVG. int16 audio (L,)."""
    columns = np.array_split(audio.astype(np.int64), min(_COLUMNS, audio.size))
    peak = max(1, int(np.abs(audio.astype(np.int64)).max()))
    upper = "L".join(f"{i} {round(-100 * int(column.max()) / peak)}" for i, column in enumerate(columns))
    lower = "L".join(f"{i} {round(-100 * int(columns[i].min()) / peak)}" for i in reversed(range(len(columns))))
    box = (0, -104, max(1, len(columns) - 1), 208)
    more = html('style="{}"', style) if style else None
    return make_svg(html('<path d="M{}L{}Z"/>', upper, lower), box, "wave", stretch=True, more=more)


def make_player(label: str, audio: np.ndarray, rate: int) -> Markup:
    """A figure with the waveform and the controls to play it; int16 audio (L,)."""
    return html(
        '<figure style="margin:0 0 1em"><figcaption>{label}, {seconds:.3g} s</figcaption>{wave}'
        '<audio controls preload="none" aria-label="{label}" style="width:100%" src="{source}"></audio></figure>',
        label=label,
        seconds=audio.size / rate,
        wave=draw_waveform(audio, "display:block;width:100%;height:3em;fill:currentColor"),
        source=encode_data_uri("audio/wav", encode_wav(audio, rate)),
    )
