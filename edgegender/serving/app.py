"""The addresses of the server: page, live picture, events, state, health, metrics, and answers for photos."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from edgegender import __version__
from edgegender.errors import EdgeGenderError
from edgegender.serving.access import AccessRules, RateLimiter
from edgegender.serving.answers import RefusedRequestError
from edgegender.serving.counters import ServingCounters
from edgegender.serving.guard import Guard, cookie_name
from edgegender.serving.hub import PreviewHub
from edgegender.serving.live import (
    EVENT_STREAM_TYPE,
    PICTURE_STREAM_TYPE,
    LiveResponse,
    Push,
    send_events,
    send_pictures,
    take_snapshot,
)
from edgegender.serving.metrics import METRICS_TYPE, create_registry, format_metrics
from edgegender.serving.openapi import describe_api
from edgegender.serving.predictions import PhotoDesk, describe_model
from edgegender.serving.uploads import read_photo

STATE_SCHEMA = "edgegender.preview/1"
MAX_VIEWERS = 8
MAX_LISTENERS = 16
_PAGE_FILES = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}

Produce = Callable[[PreviewHub, Push], Awaitable[None]]


@dataclass(frozen=True)
class ServingLimits:
    """How much a client may ask for.

    Args:
        max_upload_bytes: Largest photo file.
        rate_per_s: Photos a second for each client address, on the long run.
        burst: Photos that may come at once.
        upload_timeout_s: A photo must have come by then, seconds.
    """

    max_upload_bytes: int = 10_000_000
    rate_per_s: float = 10.0
    burst: int = 20
    upload_timeout_s: float = 20.0


@dataclass
class PreviewApp:
    """What is served.

    Args:
        hub: The camera; ``None`` where only photos are answered.
        photos: Answers photos; ``None`` where only the camera is shown.
        rules: Who may ask.
        limits: How much.
        counters: What was done so far.
        closing: Set when the server stops, in its own thread; live answers end then.
    """

    hub: PreviewHub | None = None
    photos: PhotoDesk | None = None
    rules: AccessRules = field(default_factory=AccessRules)
    limits: ServingLimits = field(default_factory=ServingLimits)
    counters: ServingCounters = field(default_factory=ServingCounters)
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._registry = create_registry(self.hub, self.counters)
        self._num_listeners = 0

    def routes(self) -> list[Route]:
        """Returns what answers at each address."""
        return [
            Route("/", self._page),
            *(Route(f"/{name}", self._page_file) for name in _PAGE_FILES),
            Route("/stream.mjpg", self._stream),
            Route("/v1/snapshot.jpg", self._snapshot),
            Route("/v1/events", self._events),
            Route("/v1/state", self._state),
            Route("/v1/model", self._model),
            Route("/v1/predict", self._predict, methods=["POST"]),
            Route("/healthz", self._health),
            Route("/metrics", self._metrics),
            Route("/openapi.json", self._openapi),
        ]

    def create(self) -> ASGIApp:
        """Returns the ASGI application."""
        # Starlette hands each error to the handler of its own class
        handlers: dict[type[Exception], Callable[[Request, Any], Response]] = {
            RefusedRequestError: _answer_refused,
            HTTPException: _answer_unknown,
            ClientDisconnect: _answer_nobody,
            EdgeGenderError: _answer_failed,
            Exception: self._answer_bug,
        }
        return Guard(  # around all of Starlette, so that its answer to a bug is safe and counted, too
            Starlette(routes=self.routes(), exception_handlers=handlers),
            rules=self.rules,
            limiter=RateLimiter(rate_per_s=self.limits.rate_per_s, burst=self.limits.burst),
            counters=self.counters,
            read_locked_page=lambda: read_page_file("locked.html"),
        )

    # The page

    async def _page(self, request: Request) -> Response:
        response = HTMLResponse(read_page_file("page.html"))
        if self.rules.token and "token" in request.query_params:
            # served at once, not by a redirect: after a click on another site a browser holds the cookie back there
            response.set_cookie(cookie_name(request.scope), self.rules.cookie, httponly=True, samesite="strict")
        return response

    async def _page_file(self, request: Request) -> Response:
        name = PurePosixPath(request.scope["path"]).name
        return Response(read_page_file(name), media_type=_PAGE_FILES[name])

    # The camera

    def _require_hub(self) -> PreviewHub:
        if self.hub is None:
            raise RefusedRequestError(
                404,
                "Expected a camera, got none: photos only.",
                hint="Start one with edgegender camera --preview :8080.",
            )
        return self.hub

    def _require_pictures(self) -> PreviewHub:
        hub = self._require_hub()
        if hub.is_aggregate_only:
            raise RefusedRequestError(
                404, "Expected a picture, got counts only.", hint="The camera runs with --aggregate-only."
            )
        if hub.num_viewers >= MAX_VIEWERS:
            raise _too_many("viewers", MAX_VIEWERS)
        return hub

    def _live(self, hub: PreviewHub, produce: Produce, media_type: str) -> LiveResponse:
        return LiveResponse(lambda push: produce(hub, push), media_type=media_type, closing=self.closing)

    async def _stream(self, request: Request) -> Response:
        del request
        return self._live(self._require_pictures(), send_pictures, PICTURE_STREAM_TYPE)

    async def _snapshot(self, request: Request) -> Response:
        del request
        jpeg = await take_snapshot(self._require_pictures())
        if jpeg is None:
            raise RefusedRequestError(
                503, "Expected a picture from the camera, got none in time.", hint="See /v1/state.", retry_after_s=5
            )
        return Response(jpeg, media_type="image/jpeg")

    async def _events(self, request: Request) -> Response:
        del request
        hub = self._require_hub()
        if self._num_listeners >= MAX_LISTENERS:
            raise _too_many("listeners", MAX_LISTENERS)
        return self._live(hub, self._send_events, EVENT_STREAM_TYPE)

    async def _send_events(self, hub: PreviewHub, push: Push) -> None:
        self._num_listeners += 1
        try:
            await send_events(hub, push)
        finally:
            self._num_listeners -= 1

    async def _state(self, request: Request) -> Response:
        del request
        return JSONResponse(
            {
                "schema": STATE_SCHEMA,
                "version": __version__,
                "camera": None if self.hub is None else self.hub.state(),
                "listeners": self._num_listeners,
                "predictions": dict(self.counters.predictions),
                "refused": {str(status): count for status, count in self.counters.refused.items()},
                "max_upload_bytes": self.limits.max_upload_bytes if self.photos is not None else None,
            }
        )

    async def _health(self, request: Request) -> Response:
        del request
        trouble = self.hub.find_trouble() if self.hub is not None else ""
        body = {"status": "trouble" if trouble else "ok", "reason": trouble or None}
        return JSONResponse(body, status_code=503 if trouble else 200)

    async def _metrics(self, request: Request) -> Response:
        del request
        return Response(format_metrics(self._registry), headers={"Content-Type": METRICS_TYPE})

    # Photos

    def _require_photos(self) -> PhotoDesk:
        if self.photos is None:
            raise RefusedRequestError(
                404, "Expected a model for photos, got none.", hint="Start one with edgegender serve."
            )
        return self.photos

    async def _model(self, request: Request) -> Response:
        del request
        return JSONResponse(describe_model(self._require_photos().model))

    async def _predict(self, request: Request) -> Response:
        photos = self._require_photos()
        with photos.place():
            content = await read_photo(
                request, max_bytes=self.limits.max_upload_bytes, timeout_s=self.limits.upload_timeout_s
            )
            answer = await photos.answer(content)
        self.counters.predictions[str(answer["status"])] += 1
        return JSONResponse(answer)

    async def _openapi(self, request: Request) -> Response:
        del request
        return JSONResponse(describe_api())

    def _answer_bug(self, request: Request, error: Exception) -> Response:
        """The last net: whoever runs the camera is told, the client learns no more than that it was not their fault."""
        if self.hub is not None:
            self.hub.report(f"Unexpected {type(error).__name__} at {request.scope['path']}: {error}")
        return RefusedRequestError(500, "Unexpected error of the server.", hint="Try again.").to_response()


@cache
def read_page_file(name: str) -> str:
    """Returns one of the page's files."""
    return files("edgegender.serving").joinpath(f"page/{name}").read_text("utf-8")


def _too_many(who: str, most: int) -> RefusedRequestError:
    return RefusedRequestError(
        503, f"Expected at most {most} {who}, got one more.", hint="Close another page.", retry_after_s=5
    )


def _answer_refused(request: Request, error: RefusedRequestError) -> Response:
    del request
    return error.to_response()


def _answer_unknown(request: Request, error: HTTPException) -> Response:
    del request
    response = RefusedRequestError(
        error.status_code, f"Expected an address of /openapi.json, got: {error.detail}.", hint="See /openapi.json."
    ).to_response()
    response.headers.update(error.headers or {})
    return response


def _answer_nobody(request: Request, error: ClientDisconnect) -> Response:
    """The client left while it sent: the answer goes nowhere."""
    del request, error
    return RefusedRequestError(400, "Expected a whole photo, got a part.", hint="Send it again.").to_response()


def _answer_failed(request: Request, error: EdgeGenderError) -> Response:
    del request
    return RefusedRequestError(500, str(error), hint=error.hint or "See the server's own output.").to_response()
