"""`meshnet genkey`: a network's key that nobody can guess."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import click

from meshnet.errors import ConfigError

_KEY_BYTES = 32


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
def genkey(file: Path | None) -> None:
    """Make a key for --key-file: print it, or write it to FILE (mode 0600, never over another)."""
    line = base64.b64encode(os.urandom(_KEY_BYTES)).decode() + "\n"
    if file is None:
        click.echo(line, nl=False)
        return
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise ConfigError(f"{file} is there already; choose another name, or remove it") from None
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as out:
        out.write(line)
