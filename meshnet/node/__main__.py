"""``python -m meshnet.node``: one peer in the foreground."""

from __future__ import annotations

import functools
import os
import sys

import uvloop

from meshnet.errors import MeshError
from meshnet.node.logs import start_logging
from meshnet.node.options import fail, parse_options
from meshnet.node.run import run


def main() -> None:
    try:
        read = functools.partial(parse_options, sys.argv[1:], os.environ)
        config = read()
        start_logging(config.log_level, config.log_format)
        uvloop.run(run(config, read))
    except MeshError as error:
        fail(str(error))


if __name__ == "__main__":
    main()
