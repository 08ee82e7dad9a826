"""Passwords and keys from options and files, in the order given: the first is offered."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from meshnet.errors import ConfigError
from meshnet.wire.identity import psk_of_key_text


def read_secrets(given: Iterable[tuple[str, str]]) -> tuple[str | bytes, ...]:
    """Passwords (text) and psks (32 bytes) of pairs (option, value).

    Raises ConfigError, with one line that says what to do.
    """
    return tuple(dict.fromkeys(_read_secret(option, value) for option, value in given))


def refuse_if_open(where: str, path: Path, file: IO[Any]) -> None:
    """Raises ConfigError when others than its owner can read ``file``, which is ``path``'s."""
    mode = os.fstat(file.fileno()).st_mode
    # What is no regular file, such as a pipe of the shell's, nobody else can open later.
    if stat.S_ISREG(mode) and mode & 0o077:
        raise ConfigError(f"{where} is open to others; run: chmod 600 {path}")


def _read_secret(option: str, value: str) -> str | bytes:
    if option == "password":
        return value
    where = f"--{option.replace('_', '-')} {value}"
    line = _first_line(where, Path(value))
    if option == "password_file":
        return line
    try:
        return psk_of_key_text(line)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}; `meshnet genkey` makes one") from None


def _first_line(where: str, path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            refuse_if_open(where, path, file)
            line = file.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"{where}: {reason}") from None
    if not line:
        raise ConfigError(f"{where}: the first line is empty")
    return line
