"""``python -m orchestrator FILE``: what an executable grid file's first line calls.

The same as ``trsp run FILE``.
"""

from orchestrator.cli import main

if __name__ == "__main__":
    main()
