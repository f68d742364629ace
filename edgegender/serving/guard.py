"""What every request passes first, and what every answer carries."""

from __future__ import annotations

import math
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgegender.serving.access import AccessRules, RateLimiter, is_from_elsewhere
from edgegender.serving.answers import BODY_IS_OVER, SAFE_HEADERS, RefusedRequestError
from edgegender.serving.counters import ServingCounters

# A health check tells nothing but whether all is well; style and icon are what the page for the token needs.
# Paths come from the request line: an address put together with the Host header could claim any path.
_OPEN_PATHS = frozenset({"/healthz", "/page.css", "/icon.svg"})
_SAFE_HEADER_PAIRS = [(name.lower().encode(), value.encode()) for name, value in SAFE_HEADERS.items()]


def cookie_name(scope: Scope) -> str:
    """Returns the cookie's name: cookies know no ports, and two servers on one machine must not share one."""
    return f"edgegender-{scope['server'][1]}"


class Guard:
    """Refuses what the rules do not allow before it reaches a route, and counts it.

    Args:
        app: What answers.
        rules: What a request must bring along.
        limiter: For photos, and for wrong tokens.
        counters: Where refused requests are counted.
        read_locked_page: Gives the page that asks a person for the token.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        rules: AccessRules,
        limiter: RateLimiter,
        counters: ServingCounters,
        read_locked_page: Callable[[], str],
    ) -> None:
        self._app = app
        self._rules = rules
        self._limiter = limiter
        self._counters = counters
        self._read_locked_page = read_locked_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        request = Request(scope)

        async def receive_to_the_end() -> Message:
            message = await receive()
            if not message.get("more_body", False):
                scope[BODY_IS_OVER] = True
            return message

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_SAFE_HEADER_PAIRS]
                if message["status"] >= 400 and scope["path"] != "/healthz":
                    self._counters.refused[message["status"]] += 1
            await send(message)

        try:
            self._check(request)
        except RefusedRequestError as refused:
            await self._refuse(request, refused)(scope, receive_to_the_end, send_safely)
            return
        await self._app(scope, receive_to_the_end, send_safely)

    def _refuse(self, request: Request, refused: RefusedRequestError) -> Response:
        is_person = request.scope["path"] == "/" and "text/html" in request.headers.get("accept", "")
        if refused.status == 401 and is_person:
            return HTMLResponse(self._read_locked_page(), status_code=401)
        return refused.to_response()

    def _check(self, request: Request) -> None:
        """Makes sure that a request is allowed.

        Raises:
            RefusedRequestError: It is not.
        """
        headers = request.headers
        if not self._rules.is_host_allowed(headers.get("host", "")):
            raise RefusedRequestError(
                403,
                "Expected the host localhost or 127.0.0.1, got another name.",
                hint="Open the address that edgegender printed.",
            )
        is_visit = headers.get("sec-fetch-mode") == "navigate" and request.method == "GET"
        if not is_visit and is_from_elsewhere(headers):
            raise RefusedRequestError(
                403,
                "Expected a request of this page or of a program, got one of another web page.",
                hint="Ask directly.",
            )
        if request.scope["path"] not in _OPEN_PATHS and not self._is_token_right(request):
            self._limit(request)
            raise RefusedRequestError(
                401,
                "Expected the token that edgegender printed, got none or another.",
                hint="Add ?token=… to the address, or send the header Authorization: Bearer …",
            )
        if request.method == "POST":
            self._limit(request)

    def _is_token_right(self, request: Request) -> bool:
        return self._rules.is_token_right(
            query=request.query_params.get("token", ""),
            authorization=request.headers.get("authorization", ""),
            cookie=request.cookies.get(cookie_name(request.scope), ""),
        )

    def _limit(self, request: Request) -> None:
        wait_s = self._limiter.take(request.client.host if request.client else "")
        if wait_s > 0:
            raise RefusedRequestError(
                429,
                "Expected fewer requests a second, got too many from this address.",
                hint="Wait as long as Retry-After says.",
                retry_after_s=math.ceil(wait_s),
            )
