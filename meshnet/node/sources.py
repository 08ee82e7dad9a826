"""Where options come from: a TOML file, the environment, the command line; the later wins.

``--log-level`` is ``MESHNET_LOG_LEVEL`` in the environment, ``log-level`` in the file, and so on.
In the environment the values of a repeatable option are separated by commas or spaces, and an
on/off option is 1 or 0.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from meshnet.errors import ConfigError
from meshnet.node.secret_files import refuse_if_open

_PREFIX = "MESHNET_"
# What Kubernetes sets in every container of a namespace with a service called meshnet, or
# meshnet-something: the address of that service, in the form of Docker's links.
_OF_KUBERNETES = re.compile(
    r"MESHNET_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?"
    r"|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
_NOT_SETTABLE = frozenset({"help", "version"})
# Ways to give one thing: one of them replaces all of an earlier source.
_SECRET_OPTIONS = ("password", "password_file", "key_file")


class AppendSecret(argparse._AppendAction):
    """Keeps the order in which secrets of all kinds were given, as pairs (kind, value)."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        super().__call__(parser, namespace, values, option_string)
        namespace.secrets = [*getattr(namespace, "secrets", ()), (self.dest, values)]


def merged(
    parser: argparse.ArgumentParser, arguments: Sequence[str], environment: Mapping[str, str]
) -> argparse.Namespace:
    """The options of all sources; a repeatable one is replaced whole.

    ``secrets`` are those of one source, the last that gives any, in the order given.

    Raises ConfigError; exits with 2 on wrong usage, as argparse does.
    """
    actions = {a.dest: a for a in parser._actions if a.dest not in _NOT_SETTABLE}
    values = {name: action.default for name, action in actions.items()}
    values["secrets"] = []
    for action in actions.values():
        action.default = argparse.SUPPRESS if action.option_strings else None
    for argument in arguments:
        if argument.startswith("--") and argument.endswith("=--"):
            # argparse takes the dashes away and leaves an empty list for a value.
            parser.error(f"argument {argument[:-3]}: expected one argument")
    parsed = vars(parser.parse_args(arguments))
    given = {name: value for name, value in parsed.items() if value not in (None, [])}
    if given.get("config") == "":
        # What a shell makes of a variable that is not set. Passed over, it would be the password
        # that is missing.
        raise ConfigError("--config: the name of the file is empty")
    from_environment = _from_environment(actions, environment)
    file = given.get("config") or from_environment.get("config")
    from_file = _from_file(actions, Path(file)) if file else {}
    for source in (from_file, from_environment, given):
        values.update(source)
    return argparse.Namespace(**values)


def misspelt(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> list[str]:
    """``MESHNET_…`` variables that are no option but look like one: "X (did you mean Y?)".

    Others may have variables of that prefix for themselves: what looks like no option is theirs.
    """
    known = [_PREFIX + a.dest.upper() for a in parser._actions if a.dest not in _NOT_SETTABLE]
    found = []
    for variable in sorted(environment.keys() - set(known)):
        if variable.startswith(_PREFIX) and not _OF_KUBERNETES.fullmatch(variable):
            meant = _meant(variable, known)
            found += [variable + meant] if meant else []
    return found


def _from_environment(
    actions: Mapping[str, argparse.Action], environment: Mapping[str, str]
) -> dict[str, Any]:
    """What ``MESHNET_<OPTION>`` says; an empty variable is not set."""
    found: dict[str, Any] = {}
    for name, action in actions.items():
        variable = _PREFIX + name.upper()
        text = environment.get(variable)
        if not text:
            continue
        if _is_switch(action):
            if text not in ("0", "1"):
                raise ConfigError(f"{variable}={text}: use 1 or 0")
            found[name] = text == "1"
        elif _is_list(action):
            found[name] = [text] if name == "password" else text.replace(",", " ").split()
        else:
            found[name] = _converted(action, text, f"{variable}={text}")
    return found | _secrets_of(found)


def _from_file(actions: Mapping[str, argparse.Action], path: Path) -> dict[str, Any]:
    """What the keys of a TOML file say."""
    import tomllib  # Only who has a file pays for the parser.

    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
            if "password" in table:
                refuse_if_open(f"--config {path}", path, file)
    except OSError as error:
        raise ConfigError(f"--config {path}: {error.strerror}") from None
    except RecursionError:
        raise ConfigError(f"--config {path}: nested too deeply") from None
    except ValueError as error:  # No TOML, no UTF-8, or a number without end.
        raise ConfigError(f"--config {path}: {error}") from None
    found: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        action = actions.get(name)
        if action is None or name == "config":
            options = [name.replace("_", "-") for name in actions]
            raise ConfigError(
                f"--config {path}: no option {key!r}; see --help{_meant(key, options)}"
            )
        # A password is named and not shown: what is said here ends up in logs.
        shown = key if name == "password" else f"{key} = {value!r}"
        found[name] = _of_file(action, value, f"--config {path}: {shown}")
    return found | _secrets_of(found)


def _secrets_of(found: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """The secrets of a source, in its order; nothing when it has none."""
    secrets = [(name, value) for name in found if name in _SECRET_OPTIONS for value in found[name]]
    return {"secrets": secrets} if secrets else {}


def _of_file(action: argparse.Action, value: object, where: str) -> Any:
    for text in value if isinstance(value, list) else [value]:
        # Neither arguments nor variables can hold one, so that nobody after us looks for it.
        if isinstance(text, str) and "\0" in text:
            raise ConfigError(f"{where}: a zero byte is in it")
    if _is_switch(action):
        if not isinstance(value, bool):
            raise ConfigError(f"{where}: use true or false")
        return value
    if _is_list(action):
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(each, str) for each in values):
            raise ConfigError(f"{where}: use a string, or a list of strings")
        return values
    if action.type is int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ConfigError(f"{where}: use a number")
        return value
    if not isinstance(value, str):
        raise ConfigError(f"{where}: use a string")
    return _converted(action, value, where)


def _converted(action: argparse.Action, text: str, where: str) -> Any:
    if action.choices is not None and text not in action.choices:
        raise ConfigError(f"{where}: use one of {', '.join(action.choices)}")
    try:
        return action.type(text) if callable(action.type) else text
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"{where}: {error}") from None
    except ValueError:
        raise ConfigError(f"{where}: not a number") from None


def _is_switch(action: argparse.Action) -> bool:
    return isinstance(action, argparse._StoreTrueAction)


def _is_list(action: argparse.Action) -> bool:
    return isinstance(action, argparse._AppendAction) or action.nargs == "*"


def _meant(name: str, known: Sequence[str]) -> str:
    import difflib  # Only for who has mistyped something.

    # Without what all have in common, which would make anything look alike.
    bare = {option.removeprefix(_PREFIX): option for option in known}
    close = difflib.get_close_matches(name.removeprefix(_PREFIX), bare, n=1, cutoff=0.75)
    return f" (did you mean {bare[close[0]]}?)" if close else ""
