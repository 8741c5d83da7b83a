"""`python -m orchestrator` is `anlan`."""

from orchestrator.cli import main

main()
