"""``python -m openmaas.cli``."""

from openmaas.cli.main import main

main()
