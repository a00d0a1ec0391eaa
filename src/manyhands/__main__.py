"""`python -m manyhands` is the same as `manyhands`."""

from manyhands.cli import command

if __name__ == "__main__":
    command()
