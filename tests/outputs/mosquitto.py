"""A real MQTT broker on a free port, and what arrives at it."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from tests.outputs.results import wait_until

_PROGRAM = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Broker:
    """mosquitto with a configuration of its own.

    Args:
        folder: For its configuration.
        settings: Lines beyond the port's.
        is_open: Whether it wants no password.
    """

    def __init__(self, folder: Path, *, settings: Sequence[str] = (), is_open: bool = True) -> None:
        if _PROGRAM is None:
            pytest.skip("no broker: apt-get install mosquitto")
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", f"allow_anonymous {str(is_open).lower()}", "user root", *settings]
        self._config.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert _PROGRAM is not None
        self._process = subprocess.Popen(
            [_PROGRAM, "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(lambda: accepts(self.port))

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    @property
    def address(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"


@contextlib.contextmanager
def running(folder: Path, *, settings: Sequence[str] = (), is_open: bool = True) -> Iterator[Broker]:
    broker = Broker(folder, settings=settings, is_open=is_open)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


class Listener:
    """Everything that arrives at a broker."""

    def __init__(self, port: int, *, user: str = "", password: str = "") -> None:
        self.messages: list[MQTTMessage] = []
        self._subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2)
        if user:
            self._client.username_pw_set(user, password)
        self._client.on_message = lambda _client, _data, message: self.messages.append(message)
        self._client.on_subscribe = lambda *_given: self._subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._client.subscribe("#")
        assert self._subscribed.wait(10)

    def texts(self, topic: str) -> list[str]:
        return [message.payload.decode() for message in list(self.messages) if message.topic == topic]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextlib.contextmanager
def listening(broker: Broker, *, user: str = "", password: str = "") -> Iterator[Listener]:
    listener = Listener(broker.port, user=user, password=password)
    try:
        yield listener
    finally:
        listener.close()
