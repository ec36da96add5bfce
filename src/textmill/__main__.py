"""`python -m textmill VERB ...` is `textmill VERB ...`; torchrun needs this spelling."""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the current folder, whose files are somebody's data and no modules of this program
    from textmill.cli.main import console

    console()
