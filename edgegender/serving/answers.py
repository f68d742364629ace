"""Answers over HTTP that are no: one line of what was wrong, one of what to do, and safe headers on everything."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

# Nothing but the server's own files runs or is loaded, no other site may frame, embed or read a page or a picture,
# and nothing is left in a cache.
SAFE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
BODY_IS_OVER = "edgegender.body_is_over"  # in a request's scope once all of its body was read
_LINGER_S = 2.0


class RefusedRequestError(Exception):
    """A request that is answered with an error.

    Args:
        status: HTTP status code.
        error: One line: what was expected and what came.
        hint: One line: what to do next.
        retry_after_s: After how many seconds another try makes sense; ``None`` where it never does.
    """

    def __init__(self, status: int, error: str, *, hint: str, retry_after_s: int | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.hint = hint
        self.retry_after_s = retry_after_s

    def to_response(self) -> Response:
        """Returns the answer."""
        headers = {}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return LastingResponse({"error": self.error, "hint": self.hint}, status_code=self.status, headers=headers)


class LastingResponse(JSONResponse):
    """An answer that reaches a client which is still sending.

    A connection that is closed upon unread data is reset, and the client never sees why it was refused: so what it
    sends is read and dropped for a moment first (RFC 9112, 9.6).
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the answer, then lets the client finish for at most two seconds."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        if scope["method"] == "POST" and not scope.get(BODY_IS_OVER):
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(_drop_body(receive), _LINGER_S)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _drop_body(receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return
