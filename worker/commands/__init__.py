"""One module per ``python -m worker`` command, each with a Typer application named ``app``."""
