"""`python -m textmill VERB ...` is `textmill VERB ...`; torchrun needs this spelling."""

from textmill.cli.main import console

if __name__ == "__main__":
    console()
