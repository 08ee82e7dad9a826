"""The `meshnet` command, also ``python -m meshnet``: the commands of all edges in one.

Exit status: 0 done, 1 refused or failed (one line on stderr: what, and what to do), 2 wrong usage.
"""

from __future__ import annotations

import sys

import click

from meshnet.cli.commands import cli
from meshnet.errors import MeshError
from meshnet.lab.command import lab

cli.add_command(lab)


def main() -> None:
    """The entry point."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        raise SystemExit(2) from None
    except click.NoSuchOption as error:
        where = ""
        if error.ctx is not None and isinstance(error.ctx.command, click.Group):
            where = " Options of a command stand after it."
        sys.stderr.write(f"meshnet: {error.format_message()}{where} (see --help)\n")
        raise SystemExit(2) from None
    except click.UsageError as error:
        sys.stderr.write(f"meshnet: {error.format_message()} (see --help)\n")
        raise SystemExit(2) from None
    except MeshError as error:
        sys.stderr.write(f"meshnet: {error}\n")
        raise SystemExit(1) from None
    except (click.Abort, KeyboardInterrupt):
        raise SystemExit(130) from None
    except BrokenPipeError:
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
