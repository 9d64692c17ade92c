"""``python -m openmaas.cli``."""

from openmaas.cli.main import main

main(prog_name="openmaas")  # which also names the variable of the shell completion
