"""The process of ``trsp``, and of ``python -m orchestrator FILE``: an executable file's first line.

``python -m orchestrator FILE`` is the same as ``trsp run FILE``.
"""

import signal


def main() -> None:
    """Run the command line. Ctrl-C ends it without a traceback, from its first moment on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # while modules are imported

    from orchestrator.cli import main as run_command

    run_command()


if __name__ == "__main__":
    main()
