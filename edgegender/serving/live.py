"""Answers that go on: pictures as they come, events as they happen."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from edgegender.runtime.outputs import Event
from edgegender.serving.hub import PreviewHub
from edgegender.serving.pictures import EncodedPicture

BOUNDARY = "frame"
PICTURE_STREAM_TYPE = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
EVENT_STREAM_TYPE = "text/event-stream"
_EVENT_INTERVAL_S = 0.1
_HEARTBEAT_S = 10.0  # proxies and browsers close what is silent for longer
_RETRY_MS = 2000
_SNAPSHOT_TIMEOUT_S = 5.0

Push = Callable[[bytes], Awaitable[None]]


class LiveResponse(Response):
    """An answer that ends when its producer does, the client leaves, or the server is stopped.

    Args:
        produce: Sends the body through the function that it is given, which waits while the client does not read.
        media_type: Of the whole answer.
        closing: Set when the server stops.
    """

    def __init__(self, produce: Callable[[Push], Awaitable[None]], *, media_type: str, closing: asyncio.Event) -> None:
        super().__init__(media_type=media_type)
        self.raw_headers = [pair for pair in self.raw_headers if pair[0] != b"content-length"]
        self._produce = produce
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the answer."""

        async def push(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            await _first_of(self._produce(push), _wait_until_gone(receive), self._closing.wait())
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _first_of(*works: Awaitable[object]) -> None:
    """Ends when one of them does; the others are cancelled, and what that one raised is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _waker(fresh: asyncio.Event) -> Callable[[], None]:
    """Returns what sets an event from another thread."""
    loop = asyncio.get_running_loop()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the server was stopped in between
            loop.call_soon_threadsafe(fresh.set)

    return wake


async def send_pictures(hub: PreviewHub, push: Push) -> None:
    """Sends each new picture as a part of ``multipart/x-mixed-replace``; a slow client gets newer ones later."""
    fresh = asyncio.Event()
    with hub.watching(_waker(fresh)) as viewer:
        await push(f"--{BOUNDARY}\r\n".encode())
        number = 0
        while not hub.is_closed:
            await fresh.wait()
            fresh.clear()
            with viewer.sending():
                await push(b"")  # waits until the last picture is on its way, so that the newest one comes next
                picture = hub.picture
                if picture is not None and picture.number > number:
                    number = picture.number
                    await push(_part(picture))


def _part(picture: EncodedPicture) -> bytes:
    """Returns a picture with the boundary behind it, too: browsers show a picture when its end has come."""
    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(picture.jpeg)}\r\n\r\n"
    return b"".join((head.encode(), picture.jpeg, f"\r\n--{BOUNDARY}\r\n".encode()))


async def take_snapshot(hub: PreviewHub) -> bytes | None:
    """Returns the next picture as a JPEG file; ``None`` where none comes within five seconds."""
    fresh = asyncio.Event()
    with hub.watching(_waker(fresh)):
        before = hub.picture
        deadline_s = time.monotonic() + _SNAPSHOT_TIMEOUT_S
        while not hub.is_closed and (left_s := deadline_s - time.monotonic()) > 0:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(fresh.wait(), left_s)
            fresh.clear()
            picture = hub.picture
            if picture is not None and picture is not before:
                return picture.jpeg
    return None


def _format_event(event: Event) -> str:
    data = json.dumps(dict(event), ensure_ascii=False, allow_nan=False)
    return f"event: {event['type']}\ndata: {data}\n\n"


async def send_events(hub: PreviewHub, push: Push) -> None:
    """Sends events as server-sent events: all of other types, and of type ``faces`` the newest, ten times a second.

    Source: HTML Living Standard, 9.2 (Server-sent events).
    """
    await push(f"retry: {_RETRY_MS}\n\n".encode())
    num_notices, num_faces = hub.num_notices, 0
    sent_s = time.monotonic()
    while not hub.is_closed:
        notices = hub.notices_after(num_notices)
        texts = [_format_event(event) for _, event in notices]
        num_notices = notices[-1][0] if notices else num_notices
        number, faces = hub.latest_event()
        if faces is not None and number > num_faces:
            num_faces = number
            texts.append(_format_event(faces))
        if not texts and time.monotonic() - sent_s > _HEARTBEAT_S:
            texts = [": \n\n"]
        if texts:
            await push("".join(texts).encode())
            sent_s = time.monotonic()
        await asyncio.sleep(_EVENT_INTERVAL_S)
