"""The page's server: http on loopback, for one person; every address has a secret token, every error is a JSON sentence.

Whoever knows the token may play. Other pages in the same browser do not know it, and their requests are refused by Host and
Origin besides: so nothing but our own page can reach the engine, whatever its owner's name resolves to.
"""

import base64
import json
import re
import secrets
import sys
import traceback
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from dx7data.audio.wav import encode_wav
from dx7data.errors import InputError
from dx7data.page import algorithm, envelopes
from dx7data.page.head import COLOURS
from dx7data.page.play import conversion, notes, panel
from dx7data.page.play.conversion import Model
from dx7data.page.play.notes import MAX_SECONDS, RATE, Note
from dx7data.patches import patch, sysex
from dx7data.patches.bank import Bank

_HERE = Path(__file__).parent
_TYPES = {".css": "text/css", ".js": "text/javascript"}
_FILES = {path.name: path for path in (*_HERE.iterdir(), COLOURS) if path.suffix in _TYPES}
_MAX_BODY = 1 << 16  # bytes: a take of a thousand notes
_MAX_NOTES = 1000
_MAX_BLOCK = MAX_SECONDS * RATE // 64
_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src data:; img-src data:; " + (
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "midi=(self), microphone=(), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Refusal(Exception):
    """A request that is not answered: a status and one sentence."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Instrument(NamedTuple):
    """What is played: the patches, and a model beside them or none."""

    bank: Bank
    model: Model | None


def warm_up() -> None:
    """Compile or load what the answers need, so that the first key is answered at once."""
    notes.render_stretch(patch.INIT, 60, 100, None, 0, 64)
    envelopes.draw_envelopes(patch.INIT)


def open_server(instrument: Instrument) -> tuple[ThreadingHTTPServer, str]:
    """A server on a free port of loopback, and the address of its page."""
    token = secrets.token_urlsafe(24)
    server = _Server(("127.0.0.1", 0), partial(_Handler, instrument, token))
    return server, f"http://127.0.0.1:{server.server_address[1]}/{token}/"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # connections that wait to be accepted: of 20 at once, with 5, a busy machine resets some

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of an answer is nothing to speak of."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # one connection for many notes
    disable_nagle_algorithm = True  # or a note would wait for the one before to be acknowledged
    server_version, sys_version = "dx7data", ""
    timeout = 600  # seconds for which a connection may be idle

    def __init__(self, instrument: Instrument, token: str, *arguments: Any) -> None:
        self._instrument, self._token = instrument, token
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self._answer({"": self._page, "patches": self._patches, "patch": self._patch, "voice": self._voice})

    def do_POST(self) -> None:
        self._answer({"note": self._note, "drawing": self._drawing, "take": self._take})

    # --- What is asked for, and by whom ---

    def _answer(self, calls: dict[str, Callable[[str], None]]) -> None:
        try:
            name, rest = self._check()
            if name in _FILES and not rest and self.command == "GET":
                self._send(_FILES[name].read_bytes(), f"{_TYPES[_FILES[name].suffix]}; charset=utf-8")
            elif name not in calls:
                raise Refusal(HTTPStatus.NOT_FOUND, f"there is no {self.command} {name or 'of the page'} here")
            else:
                calls[name](rest)
        except Refusal as error:
            self._refuse(error.status, str(error))
        except InputError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except ConnectionError:
            raise
        except Exception:
            traceback.print_exc()
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "dx7data has failed; the terminal where it runs says how")

    def _check(self) -> tuple[str, str]:
        """The first name in the path after the token, and what follows it. Raises Refusal."""
        _, port = cast(tuple[str, int], self.server.server_address)
        hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        if self.headers.get("Host") not in hosts:
            raise Refusal(HTTPStatus.FORBIDDEN, f"this server answers to 127.0.0.1:{port} alone")
        if self.headers.get("Origin", "http://" + self.headers["Host"]) not in {f"http://{host}" for host in hosts}:
            raise Refusal(HTTPStatus.FORBIDDEN, "only the page of this server may ask it for anything")
        _, _, path = self.path.partition("/")
        token, slash, path = path.partition("/")
        if not slash or not secrets.compare_digest(token.encode(), self._token.encode()):
            raise Refusal(HTTPStatus.FORBIDDEN, "the address lacks its token: use the one that dx7data play has printed")
        name, _, rest = path.partition("/")
        return name, rest

    def _read(self) -> dict[str, Any]:
        """The JSON object of a request. Raises Refusal."""
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,9}", length):
            raise Refusal(HTTPStatus.LENGTH_REQUIRED, "a request must say its Content-Length")
        if int(length) > _MAX_BODY:
            raise Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request may have {_MAX_BODY:,} bytes, not {int(length):,}"
            )
        try:
            asked = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, dict):
            raise Refusal(HTTPStatus.BAD_REQUEST, "the request is no JSON object")
        return asked

    # --- Answers ---

    def _page(self, _: str) -> None:
        self._send(panel.write_page(self._instrument.model is not None).encode(), "text/html; charset=utf-8")

    def _patches(self, _: str) -> None:
        bank = self._instrument.bank
        algorithms = (bank.patches[:, patch.ALGORITHM] + 1).tolist()
        rows = zip(bank.names, bank.origins, algorithms, strict=True)
        self._send_json([[name, origin["file"], origin["index"], number] for name, origin, number in rows])

    def _patch(self, index: str) -> None:
        bank = self._instrument.bank
        if not re.fullmatch("[0-9]{1,9}", index) or int(index) >= len(bank.ids):
            raise Refusal(HTTPStatus.NOT_FOUND, f"there is no patch {index[:20]!r}: they are 0 to {len(bank.ids) - 1:,}")
        self._send_json({"patch": bank.patches[int(index)].tobytes().hex()})

    def _voice(self, name: str) -> None:
        self._send(sysex.write_voice(_parse_patch(name.removesuffix(".syx"))), "application/octet-stream")

    def _drawing(self, _: str) -> None:
        stored = _parse_patch(self._read().get("patch"))
        fields = patch.to_dict(stored)
        off = {each["operator"] for each in fields["operators"] if not each["output_level"]}
        drawn = {
            "algorithm": algorithm.draw_algorithm(fields["algorithm"] + 1, off, feedback=fields["feedback"]),
            "envelopes": envelopes.draw_envelopes(stored),
            "frequencies": {each["operator"]: envelopes.format_frequency(each) for each in fields["operators"]},
        }
        self._send_json(drawn)

    def _note(self, _: str) -> None:
        asked = self._read()
        stored, key, velocity = _parse_patch(asked.get("patch")), _whole(asked, "key", 127), _whole(asked, "velocity", 127)
        release = None if asked.get("release") is None else _whole(asked, "release", _MAX_BLOCK)
        first, stop = (_whole(asked, name, MAX_SECONDS * RATE) for name in ("first", "stop"))
        samples = notes.render_stretch(stored, key, velocity, release, first, stop)
        self._send(samples.astype("<i2").tobytes(), "application/octet-stream")

    def _take(self, _: str) -> None:
        model, asked = self._instrument.model, self._read()
        if model is None:
            raise Refusal(
                HTTPStatus.NOT_FOUND,
                "no model is there to convert a take: start dx7data play with --pretrained or --checkpoint",
            )
        stored, played = _parse_patch(asked.get("patch")), _parse_notes(asked.get("notes"))
        source, target = notes.render_take(stored, played, model.sample_rate)
        clips = {
            "source": encode_wav(source, model.sample_rate),
            "target": encode_wav(target, model.sample_rate),
            "model": conversion.convert(model, source, stored),
        }
        self._send_json({name: base64.b64encode(clip).decode() for name, clip in clips.items()})

    # --- How answers are sent ---

    def _send_json(self, value: Any, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(json.dumps(value).encode(), "application/json", status)

    def _send(self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        for name, value in (_HEADERS | {"Content-Type": kind, "Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        self.close_connection = True  # what is left of the request was not read
        self._send_json({"error": sentence}, status)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server itself refuses: a request that is none."""
        self._refuse(HTTPStatus(code), message or HTTPStatus(code).description)

    def log_message(self, *_: Any) -> None:
        """A line for each note would be of no use."""


# --- What a request holds ---


def _parse_patch(text: object) -> np.ndarray:
    """155 bytes as hexadecimal digits: a legal patch, uint8 (155,). Raises Refusal."""
    if not isinstance(text, str) or not re.fullmatch(f"[0-9a-f]{{{2 * patch.STORED_BYTES}}}", text):
        raise Refusal(HTTPStatus.BAD_REQUEST, f"patch must be {2 * patch.STORED_BYTES} hexadecimal digits")
    try:
        return patch.require_legal(np.frombuffer(bytes.fromhex(text), np.uint8))
    except ValueError as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, str(error).partition(":")[0]) from None


def _parse_notes(value: object) -> list[Note]:
    if not isinstance(value, list) or not 1 <= len(value) <= _MAX_NOTES or not all(isinstance(each, dict) for each in value):
        raise Refusal(HTTPStatus.BAD_REQUEST, f"notes must be a list of 1 to {_MAX_NOTES} notes")
    limits = {"key": 127, "velocity": 127, "start": _MAX_BLOCK, "release": _MAX_BLOCK}
    return [Note(**{name: _whole(each, name, limit) for name, limit in limits.items()}) for each in value]


def _whole(asked: dict[str, Any], name: str, maximum: int) -> int:
    value = asked.get(name)
    if type(value) is not int or not 0 <= value <= maximum:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"{name} must be a whole number from 0 to {maximum:,}")
    return value
