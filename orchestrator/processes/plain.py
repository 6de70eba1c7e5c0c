"""A process that was started for one call, where no fork server can be had: slower, and as right.

python -c ... trsp-process DESCRIPTOR
"""

import socket

from orchestrator.processes.child import answer_calls
from orchestrator.processes.kernel import die_with


def main(descriptor: int, parent: int) -> int:
    """Answer the calls that come over the socket of this number; return the exit code.

    ``parent`` is the process that started this one, and ends it by its own end.
    """
    die_with(parent)
    return answer_calls(socket.socket(fileno=descriptor), learned=lambda: None)
