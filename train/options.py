"""Command-line options from the fields of dataclasses, where name, type, limits, default and help stand once.

argparse splits the words, and msgspec makes values of them, with the limits that hold for the same fields in JSON. What is
not given is not in the result: a preset, or the run that goes on, has its value.
"""

import argparse
import dataclasses
import tomllib
from collections.abc import Callable, Container, Iterable, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NoReturn, TypeVar, cast, get_args, get_origin, get_type_hints

import msgspec

from dx7data import output
from dx7data.cli import types
from dx7data.errors import InputError, suggest_name
from dx7data.files import read_stream
from train.documents import put_in_words

_MAX_CONFIG_BYTES = 1 << 20  # a file of options has some hundred
_IN_WORDS = {"expected int": "expected a whole number", "expected float": "expected a number", " | null": " or none"}

T = TypeVar("T")


def setting(default: Any = dataclasses.MISSING, help: str = "", **more: Any) -> Any:
    """A field of a dataclass that is an option too.

    more: `metavar`; `choices`, names of which it is one; `shown`, a default in words; `kwargs`, others of add_argument.
    """
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=default.copy, metadata={"help": help, **more})
    return dataclasses.field(default=default, metadata={"help": help, **more})


class Parser(argparse.ArgumentParser):
    """Whatever is wrong is one sentence, an InputError. `-` and `_` in the name of an option are the same."""

    def __init__(self, prog: str, description: str, **more: Any):
        more = {"allow_abbrev": False, "argument_default": argparse.SUPPRESS, **more}
        super().__init__(prog=f"python -m {prog}", description=description, **more)
        self.aliases: dict[str, str] = {}  # of options, such as --optim.lr for --lr
        if self.add_help:  # else it reads a part of a command line
            output.add_options(self)

    def error(self, message: str) -> NoReturn:
        raise InputError(message.removeprefix("argument "))

    def read(self, argv: Sequence[str]) -> dict[str, Any]:
        """What is given. Raises InputError, for an option that does not exist with the name of one that does."""
        if nothing := types.explain_empty(argv):
            raise InputError(nothing)
        end = argv.index("--") if "--" in argv else len(argv)
        options, unknown = self.parse_known_args([*map(self.normalise, argv[:end]), *argv[end:]])
        if unknown:
            raise InputError(types.explain_unknown(unknown[0], [*self._option_string_actions, *self.aliases], self.prog))
        return vars(options)

    def normalise(self, word: str) -> str:
        """`--optim.weight_decay=0.1` as `--weight-decay=0.1`; what is no option as it is."""
        name, equals, value = word.partition("=")
        name = _hyphenate(name)
        return self.aliases.get(name, name) + equals + value

    def add_fields(
        self,
        kind: type,
        names: Iterable[str] | None = None,
        group: str = "",
        title: str = "",
        shown: dict[str, Any] | None = None,
    ) -> None:
        """Options for the fields of a dataclass that have a help, or those of these names.

        group: `--optim.lr` is another name of `--lr` then. shown: defaults that count instead of the class's own.
        """
        into = self.add_argument_group(title or group) if title or group else self
        types = get_type_hints(kind, include_extras=True)
        for field in dataclasses.fields(kind):
            if "help" in field.metadata and (names is None or field.name in names):
                add_field(into, field, types[field.name], shown or {})
                if group:
                    self.aliases[_hyphenate(f"--{group}.{field.name}")] = _hyphenate(f"--{field.name}")


def add_field(into: Any, field: dataclasses.Field, kind: Any, shown: dict[str, Any]) -> None:
    """One option. into: a parser, or a group of one."""
    about = dict(field.metadata)
    positional = about.pop("positional", False)
    flags = [field.name] if positional else [_hyphenate(f"--{field.name}")]
    keywords: dict[str, Any] = {"help": _describe(field, about, shown), **about.get("kwargs", {})}
    if kind is bool:
        keywords["action"] = "store_true"
    else:
        choices = about.get("choices") or find_choices(kind)
        keywords.setdefault("type", make_reader(kind, choices, many="nargs" in keywords))
        if choices and "metavar" not in about:
            about["metavar"] = "|".join([*(["none"] if "choices" in about and NoneType in get_args(kind) else []), *choices])
        if metavar := about.get("metavar"):
            keywords["metavar"] = metavar
    if not positional:
        keywords["dest"] = field.name
    into.add_argument(*flags, **keywords)


def _describe(field: dataclasses.Field, about: dict[str, Any], shown: dict[str, Any]) -> str:
    default = shown.get(field.name, about.get("shown", field.default))
    text = " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
    if default is None:
        text = "none" if "choices" in about else ""
    known = text and default is not dataclasses.MISSING and default is not False
    return str(about["help"] + f" (default: {text})" * bool(known)).replace("%", "%%")


def find_choices(kind: Any) -> tuple[str, ...]:
    """The names of a Literal, also of one or None; empty for other types."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return next((get_args(part) for part in get_args(kind) if get_origin(part) is Literal), ())


def make_reader(kind: Any, choices: Container[str] | Iterable[str] = (), many: bool = False) -> Callable[[str], Any]:
    """What makes a value of the text of an option. many: of one of several texts, which become a tuple."""
    if many:
        kind = get_args(kind)[0]

    def read(text: str) -> Any:
        if text == "none" and NoneType in get_args(kind):
            return None
        if choices and text not in (names := list(choices)):  # type: ignore[arg-type]  # both kinds are iterable
            guess = suggest_name(text, names)
            raise argparse.ArgumentTypeError(f"there is no {text!r}: {guess}there are {', '.join(names)}")
        return read_value(text, kind)

    return read


def read_value(text: str, kind: Any) -> Any:
    """Text as a value of a type with limits; `4,4` as a tuple. Raises ArgumentTypeError."""
    if Path in (kind, *get_args(kind)):
        return types.path(text)
    try:
        return msgspec.convert(text.split(",") if get_origin(kind) is tuple else text, kind, strict=False)
    except msgspec.ValidationError as error:
        reason = put_in_words(str(error).replace("`", "").partition(" - at ")[0]).removesuffix(", got str")
        for name, words in _IN_WORDS.items():
            reason = reason.replace(name, words)
        raise argparse.ArgumentTypeError(f"{text!r:.200} can't be used: {reason}") from None


def parse(kind: type[T], argv: Sequence[str], prog: str, description: str, **more: Any) -> T:
    """An instance of a dataclass from a command line, whose -q, -v and --json hold from now on. Raises InputError."""
    parser = Parser(prog, description, **more)
    parser.add_fields(kind)
    given = parser.read(argv)
    output.configure(given)
    for field in dataclasses.fields(cast(Any, kind)):
        if field.name not in given and field.default is dataclasses.MISSING:
            raise InputError(f"{_hyphenate(f'--{field.name}')} is missing: {field.metadata['help']}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})


# --- Files of options ---


def read_config(path: Path, texts: str) -> list[str]:
    """A TOML file as the words of a command line: `lr = 0.003` as --lr=0.003, under [optim] as --optim.lr=0.003.

    texts: the beginning of the names of options for which true and false are values. Raises InputError.
    """
    try:
        with open(path, "rb") as file:  # also a pipe, as in --config <(make_options)
            data = read_stream(file, _MAX_CONFIG_BYTES, f"--config {path}")
        document = tomllib.loads(data.decode())
        if "config" in document:
            raise InputError(f"--config {path}: it has a config of its own: give each file on the command line")
        return list(_write_words(document, "--", path, f"--{texts}"))
    except OSError as error:
        raise InputError(f"--config {path} can't be read: {error.strerror or error}") from None
    except RecursionError:
        raise InputError(f"--config {path} is nested too deeply") from None
    except ValueError as error:
        raise InputError(f"--config {path} is no TOML: {error}") from None


def _write_words(table: dict[str, Any], above: str, path: Path, texts: str) -> Iterable[str]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _write_words(value, f"{above}{key}.", path, texts)
        elif isinstance(value, bool) and above.startswith(texts):
            yield f"{above}{key}={str(value).lower()}"
        elif value is True:
            yield f"{above}{key}"
        elif value is False:
            raise InputError(f"--config {path}: {key} = false has no effect: leave it out")
        else:
            yield f"{above}{key}={','.join(map(str, value)) if isinstance(value, list) else value}"


def _hyphenate(name: str) -> str:
    return name.replace("_", "-") if name.startswith("--") else name
