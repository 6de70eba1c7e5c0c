"""``python -m orchestrator FILE``: what the first line of an executable grid file calls. The same as ``trsp run FILE``."""

from orchestrator.cli import main

if __name__ == "__main__":
    main()
