"""Events as messages to an MQTT broker, and to Home Assistant through it."""

from __future__ import annotations

import contextlib
import json
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgegender.entities import UInt8Array
from edgegender.errors import MissingDependencyError, UsageError
from edgegender.outputs.broker import BrokerAddress, check_prefix, parse_address, to_identifier
from edgegender.outputs.home_assistant import discovery_message, discovery_topic
from edgegender.runtime.outputs import Event
from edgegender.runtime.tracked import FrameResult

if TYPE_CHECKING:
    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessageInfo
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

DEFAULT_PREFIX = "edgegender"
DEFAULT_DISCOVERY_PREFIX = "homeassistant"
DEFAULT_FACES_PER_S = 2.0
_KEEPALIVE_S = 30
_FIRST_RETRY_S, _LAST_RETRY_S = 1, 60
_MAX_WAITING = 50  # messages that the network has not taken yet
_FPS_WINDOW_S = 10.0
_ONLINE, _OFFLINE = "online", "offline"
_CLOSE_S = 0.8


class Mqtt:
    """Sends events to a broker, in the background.

    ======================  ==========================================================  ========
    topic                   message                                                     retained
    ======================  ==========================================================  ========
    ``PREFIX/status``       ``online``, or ``offline``, also when the process was killed  yes
    ``PREFIX/counts``       event ``counts``                                              yes
    ``PREFIX/source``       event ``source``                                              yes
    ``PREFIX/faces``        event ``faces``, a few a second, and once when nobody is left no
    ``PREFIX/fps``          frames per second, every 10 seconds                           no
    ======================  ==========================================================  ========

    While the broker is away nothing is queued: messages are dropped and counted, it is tried again after 1, 2, 4 … 60
    seconds, and when it is back it gets the newest counts and state of the source. Each outage is told once.

    Args:
        address: See :func:`edgegender.outputs.broker.parse_address`.
        labels: Labels of the model, for Home Assistant.
        password_file: A file whose first line is the password.
        prefix: What all topics begin with; two cameras at one broker need two.
        device_name: What people read in Home Assistant; the prefix without one.
        discovery_prefix: Where Home Assistant listens; ``None`` to tell it nothing.
        faces_per_s: Most messages a second about faces.
        is_aggregate_only: Send counts and the source's state, and nothing by frame.
        ca_file: Certificates (PEM) that a ``mqtts://`` broker is checked against; those of the system without one.

    Raises:
        UsageError: The address, the prefix, the rate or the certificates make no sense.
        MissingDependencyError: paho-mqtt is not installed.
    """

    wants_picture = False

    def __init__(
        self,
        address: str,
        *,
        labels: Sequence[str],
        password_file: Path | None = None,
        prefix: str = DEFAULT_PREFIX,
        device_name: str = "",
        discovery_prefix: str | None = DEFAULT_DISCOVERY_PREFIX,
        faces_per_s: float = DEFAULT_FACES_PER_S,
        is_aggregate_only: bool = False,
        ca_file: Path | None = None,
    ) -> None:
        if not 0 < faces_per_s <= 100:
            raise UsageError(f"Expected more than 0 and at most 100 messages a second, got {faces_per_s:g}.")
        broker = parse_address(address, password_file=password_file)
        self._prefix = check_prefix(prefix)
        self.name = f"{broker}/{self._prefix}"
        self.num_dropped = 0
        self._device_id = to_identifier(self._prefix)
        self._device_name = device_name or self._prefix
        self._labels = tuple(labels)
        self._discovery_prefix = None if discovery_prefix is None else check_prefix(discovery_prefix)
        self._is_aggregate_only = is_aggregate_only
        self._faces_period_s = 1 / faces_per_s
        self._last_faces_s = float("-inf")
        self._had_faces = True  # so that the first frame is sent, faces or not
        self._fps_start_s: float | None = None
        self._fps_frames = 0
        self._latest: dict[str, str] = {}  # retained topics, for a broker that comes back
        self._waiting: deque[MQTTMessageInfo] = deque()
        self._lock = threading.Lock()
        self._is_connected = False
        self._is_outage_told = False
        self._num_missed = 0  # since the outage began
        self._problems: list[str] = []
        self._is_closed = False
        self._client = self._make_client(broker, ca_file)
        self._client.connect_async(broker.host, broker.port, keepalive=_KEEPALIVE_S)
        self._client.loop_start()

    def _make_client(self, broker: BrokerAddress, ca_file: Path | None) -> Client:
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as error:
            raise MissingDependencyError("paho-mqtt>=2", extra="camera") from error
        # A name that stays: after a crash the broker ends the old connection before it takes the new one.
        client = Client(CallbackAPIVersion.VERSION2, client_id=f"edgegender-{self._device_id}")
        if broker.is_secure:
            try:
                client.tls_set(ca_certs=None if ca_file is None else str(ca_file))
            except (OSError, ssl.SSLError) as error:
                raise UsageError(f"Expected certificates in PEM, got {error} ({ca_file}).") from error
        elif ca_file is not None:
            raise UsageError(f"Expected mqtts:// with certificates, got {broker}.")
        if broker.user:
            client.username_pw_set(broker.user, broker.password or None)
        client.will_set(f"{self._prefix}/status", _OFFLINE, qos=1, retain=True)
        client.reconnect_delay_set(_FIRST_RETRY_S, _LAST_RETRY_S)
        client.max_queued_messages_set(_MAX_WAITING)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        return client

    @property
    def is_connected(self) -> bool:
        """Whether the broker takes messages now."""
        return self._is_connected

    def write(self, result: FrameResult, event: Event, picture_rgb: UInt8Array | None) -> None:  # noqa: ARG002
        """Sends the faces of a frame, where it is time to, and counts the frame."""
        if self._is_aggregate_only:
            return
        now_s = time.monotonic()
        self._count_frame(now_s)
        is_news = bool(result.faces) or self._had_faces
        if is_news and now_s - self._last_faces_s >= self._faces_period_s and self._publish("faces", _to_json(event)):
            self._last_faces_s, self._had_faces = now_s, bool(result.faces)

    def _count_frame(self, now_s: float) -> None:
        if self._fps_start_s is None:
            self._fps_start_s = now_s
        elif now_s - self._fps_start_s >= _FPS_WINDOW_S:
            self._publish("fps", f"{self._fps_frames / (now_s - self._fps_start_s):.1f}")
            self._fps_start_s, self._fps_frames = now_s, 0
        self._fps_frames += 1

    def tell(self, event: Event) -> None:
        """Sends an event ``counts`` or ``source``; others are no news for a broker."""
        kind = event.get("type")
        if kind in {"counts", "source"}:
            text = _to_json(event)
            with self._lock:
                self._latest[str(kind)] = text
            self._publish(str(kind), text, is_retained=True)

    def take_problems(self) -> list[str]:
        """Returns when an outage began, and how many messages were dropped when it was over."""
        with self._lock:
            problems, self._problems = self._problems, []
        return problems

    def close(self) -> None:
        """Says goodbye to the broker, in at most two seconds."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._is_connected:
            goodbye = self._client.publish(f"{self._prefix}/status", _OFFLINE, qos=1, retain=True)
            with contextlib.suppress(RuntimeError, ValueError):  # lost meanwhile: the last will says it
                goodbye.wait_for_publish(_CLOSE_S)
        self._client.disconnect()
        # loop_stop waits for a connection that is being made, however long that takes
        stopper = threading.Thread(target=self._client.loop_stop, name="mqtt-stop", daemon=True)
        stopper.start()
        stopper.join(_CLOSE_S + 0.3)

    def _publish(self, topic: str, text: str, *, is_retained: bool = False) -> bool:
        """Returns whether the message was taken. Never waits."""
        with self._lock:
            while self._waiting and _is_done(self._waiting[0]):
                self._waiting.popleft()
            if not self._is_connected or len(self._waiting) >= _MAX_WAITING or self._is_closed:
                self.num_dropped += 1
                self._num_missed += 1
                return False
            self._waiting.append(self._client.publish(f"{self._prefix}/{topic}", text, qos=0, retain=is_retained))
            return True

    # What paho calls, from its own thread

    def _on_connect(
        self,
        client: Client,
        _data: object,
        _flags: ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._begin_outage(str(reason))
            return
        client.publish(f"{self._prefix}/status", _ONLINE, qos=1, retain=True)
        if self._discovery_prefix is not None:
            message = discovery_message(
                prefix=self._prefix,
                device_id=self._device_id,
                device_name=self._device_name,
                labels=self._labels,
                is_aggregate_only=self._is_aggregate_only,
            )
            topic = discovery_topic(self._discovery_prefix, self._device_id)
            client.publish(topic, _to_json(message), qos=1, retain=True)
        with self._lock:
            for topic, text in self._latest.items():
                client.publish(f"{self._prefix}/{topic}", text, qos=0, retain=True)
            if self._is_outage_told:
                self._problems.append(f"the broker is back; {self._num_missed} messages were dropped")
            self._num_missed, self._is_outage_told = 0, False
            self._waiting.clear()
            self._had_faces = True
            self._is_connected = True

    def _on_connect_fail(self, _client: Client, _data: object) -> None:
        # paho calls this while it handles the error, and hands it to nobody
        error = sys.exc_info()[1]
        reason = getattr(error, "strerror", None) or str(error or "no connection")
        self._begin_outage(reason)

    def _on_disconnect(
        self,
        _client: Client,
        _data: object,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._begin_outage(str(reason))

    def _begin_outage(self, reason: str) -> None:
        with self._lock:
            self._is_connected = False
            if not self._is_outage_told and not self._is_closed:
                self._is_outage_told = True
                self._problems.append(f"the broker is away ({reason}); it is tried again, messages are dropped")


def _is_done(message: MQTTMessageInfo) -> bool:
    try:
        return message.is_published()
    except (RuntimeError, ValueError):  # it was never taken, or the connection was lost
        return True


def _to_json(value: Event) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
