"""Processes of one training find each other before JAX does.

JAX ends the process with an abort and a C++ stack trace when one of the others does not come, and does not say which.
So they meet once in Python, on the very port that JAX takes over afterwards: whoever is late, twice there or started
with another number of processes is named, in all processes.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator

from edgegender import __version__
from edgegender.errors import TrainingError, UsageError

_RETRY_S = 0.2
_MAX_LINE_BYTES = 1000
_HELLO_S = 5.0  # whoever connects and says nothing for so long is no process of ours
_ANSWER_S = 10.0  # the answer comes a moment after the time limit of the first process, whose clock started later


def split_address(address: str) -> tuple[str, int]:
    """Returns host and port of ``HOST:PORT``; an IPv6 host stands in brackets.

    Raises:
        UsageError: It is not of that form, or the port is not in 1 to 65535.

    Example:
        >>> split_address("gpu1.example:29500"), split_address("[fd00::2]:80")
        (('gpu1.example', 29500), ('fd00::2', 80))
    """
    host, _, port = address.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise UsageError(
            f"Expected a coordinator HOST:PORT, got {address!r}.", hint="Such as --coordinator 10.0.0.1:29500."
        )
    return host, int(port)


def _read_line(connection: socket.socket) -> dict[str, object]:
    """Returns what the other side says, empty for anything that is not one short line of JSON."""
    said = b""
    with contextlib.suppress(OSError):
        while not said.endswith(b"\n") and len(said) < _MAX_LINE_BYTES:
            part = connection.recv(_MAX_LINE_BYTES)
            if not part:
                break
            said += part
    with contextlib.suppress(ValueError):
        values = json.loads(said)
        if isinstance(values, dict):
            return values
    return {}


def _say(connection: socket.socket, values: dict[str, object]) -> None:
    with contextlib.suppress(OSError):  # it has gone: JAX will tell
        connection.sendall(json.dumps(values).encode() + b"\n")


@contextlib.contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    try:
        if socket.has_dualstack_ipv6():
            server = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        else:
            server = socket.create_server(("", port))
    except OSError as error:
        raise UsageError(
            f"Expected a free port for the coordinator, got {port}: {error.strerror}.",
            hint="Choose another port for --coordinator, the same in all processes.",
        ) from error
    with server:
        yield server


def _complaint(hello: dict[str, object], count: int, present: dict[int, socket.socket]) -> str:
    index = hello["index"]
    if hello.get("count") != count:
        return f"Expected {count} processes, as process 0 does, got {hello.get('count')} (process {index})."
    if not isinstance(index, int) or not 0 < index < count:
        return f"Expected process indices from 0 to {count - 1}, got {index}."
    if index in present:
        return f"Expected each process index once, got {index} twice."
    if hello.get("version") != __version__:
        return f"Expected edgegender {__version__} in all processes, got {hello.get('version')} (process {index})."
    return ""


def _receive(port: int, count: int, timeout_s: float) -> None:
    """Waits for all others as process 0, and tells them that all are there, or what is wrong."""
    ends = time.monotonic() + timeout_s
    present: dict[int, socket.socket] = {}
    problem = ""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_listening(port))
        while len(present) < count - 1 and not problem:
            server.settimeout(max(0.01, ends - time.monotonic()))
            try:
                connection = stack.enter_context(server.accept()[0])
            except TimeoutError:
                break
            connection.settimeout(_HELLO_S)
            hello = _read_line(connection)
            if "index" not in hello:  # a port scanner, a health check
                continue
            problem = _complaint(hello, count, present)
            present[-1 if problem else int(str(hello["index"]))] = connection
        missing = [str(index) for index in range(1, count) if index not in present]
        late = "" if problem or not missing else _late(missing, count, timeout_s)
        for connection in present.values():
            _say(connection, {"problem": problem, "late": late})
    _raise(problem, late)


def _late(missing: list[str], count: int, timeout_s: float) -> str:
    return f"Expected {count} processes within {timeout_s:.0f} s, got none with the index {', '.join(missing)}."


def _raise(problem: str, late: str) -> None:
    if problem:
        raise UsageError(problem, hint="Start each process with the same --num-processes and its own --process-index.")
    if late:
        raise TrainingError(late, hint="Start them all within that time, and look at what the missing ones say.")


def _report(host: str, port: int, index: int, count: int, timeout_s: float) -> None:
    """Reports to process 0 and waits for its word."""
    ends = time.monotonic() + timeout_s
    reason = "no answer"
    while (left_s := ends - time.monotonic()) > 0:
        try:
            with socket.create_connection((host, port), timeout=left_s) as connection:
                _say(connection, {"index": index, "count": count, "version": __version__})
                connection.settimeout(left_s + _ANSWER_S)
                answer = _read_line(connection)
        except OSError as error:  # not started yet, or no name for it yet
            reason = error.strerror or str(error)
            time.sleep(_RETRY_S)
            continue
        if "problem" in answer:
            _raise(str(answer["problem"]), str(answer.get("late", "")))
            return
        reason = "an answer that is not edgegender's"
        time.sleep(_RETRY_S)
    raise TrainingError(
        f"Expected process 0 at {host}:{port} within {timeout_s:.0f} s, got: {reason}.",
        hint="Is process 0 started, is --coordinator its address, and does the firewall let that port through?",
    )


def meet(coordinator: str, *, num_processes: int, process_index: int, timeout_s: float) -> None:
    """Returns when all processes are there.

    Args:
        coordinator: ``HOST:PORT`` of process 0, a port that is free there.
        num_processes: How many there are, at least 1.
        process_index: Which one this is, from 0.
        timeout_s: How long to wait for the others.

    Raises:
        TrainingError: Another process did not come in time, or process 0 cannot be reached.
        UsageError: The port is taken, the address is none, an index is out of range or twice there, or the processes
            were started with other numbers of processes or other versions of edgegender.
    """
    host, port = split_address(coordinator)
    if not 0 <= process_index < num_processes:
        raise UsageError(f"Expected a process index from 0 to {num_processes - 1}, got {process_index}.")
    if num_processes == 1:
        return
    if process_index == 0:
        _receive(port, num_processes, timeout_s)
    else:
        _report(host, port, process_index, num_processes, timeout_s)
