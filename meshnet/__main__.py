"""``python -m meshnet``: the `meshnet` command."""

from meshnet.cli.main import main

if __name__ == "__main__":
    main()
