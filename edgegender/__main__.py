"""``python -m edgegender``."""

from edgegender.cli.main import main

main()
