"""How answers get onto the screen: once or again and again, for people or as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import cast

import click
from rich.console import RenderableType
from rich.live import Live

from meshnet.cli import views


def show(ask: Callable[[], object], as_json: bool, watch_s: float | None = None) -> None:
    """Print what ``ask`` gives: JSON values, or a view. With ``watch_s`` anew until Ctrl-C.

    Watched on a terminal, a view takes the screen for itself; elsewhere each follows the last.
    Watched as JSON, each answer is one line.
    """
    if watch_s is None:
        _print(ask(), as_json, indent=2)
        return
    console = views.new_console()
    try:
        if console.is_terminal and not as_json:
            with Live(console=console, screen=True, auto_refresh=False) as live:
                while True:
                    live.update(cast(RenderableType, ask()), refresh=True)
                    time.sleep(watch_s)
        while True:
            _print(ask(), as_json, indent=None)
            time.sleep(watch_s)
    except KeyboardInterrupt:
        pass  # That is how one stops watching.


def _print(what: object, as_json: bool, indent: int | None) -> None:
    if as_json:
        click.echo(json.dumps(what, indent=indent))
    else:
        views.show(what)
