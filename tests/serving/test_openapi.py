"""The description of the addresses is sound, complete, and what the server really answers."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import jsonschema
import pytest

from edgegender.images import encode_image
from edgegender.serving.app import PreviewApp
from edgegender.serving.hub import PreviewHub
from edgegender.serving.openapi import describe_api
from tests.pictures import gradient
from tests.serving.running import ToldSource, client, jpeg_of_people, serving, wait_until, write

API = describe_api()
PAGE_PATHS = {"/", "/page.css", "/page.js", "/icon.svg", "/openapi.json"}
JPEG = {"Content-Type": "image/jpeg"}


def operations() -> Iterator[tuple[str, str, dict[str, object]]]:
    """Gives (path, method, operation)."""
    for path, item in API["paths"].items():  # type: ignore[attr-defined]
        for method, operation in item.items():
            yield path, method, operation


def find_references(value: object) -> Iterator[str]:
    """Gives each $ref below a value."""
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for inner in value.values():
            yield from find_references(inner)
    if isinstance(value, list):
        for inner in value:
            yield from find_references(inner)


def schema_of(path: str, status: int, method: str = "get") -> dict[str, object]:
    """Returns the schema of a JSON answer, with all that it refers to."""
    answer = API["paths"][path][method]["responses"][str(status)]  # type: ignore[index]
    return {**answer["content"]["application/json"]["schema"], "components": API["components"]}


def check(answer: httpx.Response, path: str, method: str = "get") -> None:
    """Makes sure that an answer is as described."""
    jsonschema.validate(answer.json(), schema_of(path, answer.status_code, method), jsonschema.Draft202012Validator)


def test_the_description_has_the_shape_of_openapi() -> None:
    assert str(API["openapi"]).startswith("3.1.")
    assert {"title", "version"} <= set(API["info"])  # type: ignore[call-overload]
    names = []
    for path, method, operation in operations():
        assert path.startswith("/")
        assert method in {"get", "post"}
        names.append(operation["operationId"])
        responses = operation["responses"]
        assert isinstance(responses, dict)
        assert "200" in responses
        assert all(answer["description"] for answer in responses.values())
        assert all("schema" in media for answer in responses.values() for media in answer["content"].values())
    assert len(set(names)) == len(names)


def test_every_reference_leads_to_a_sound_schema() -> None:
    schemas = API["components"]["schemas"]  # type: ignore[index]
    references = set(find_references(API))
    assert references == {f"#/components/schemas/{name}" for name in schemas}
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_every_route_is_described_and_no_other() -> None:
    routes = {route.path for route in PreviewApp().routes()}
    assert routes - PAGE_PATHS == set(API["paths"])  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def ask() -> Iterator[httpx.Client]:
    hub = PreviewHub(source=ToldSource())
    with serving(hub=hub, has_photos=True) as server, client(server) as asking:
        yield asking


def test_the_server_gives_the_description(ask: httpx.Client) -> None:
    assert ask.get("/openapi.json").json() == API


@pytest.mark.parametrize("content", [jpeg_of_people(), encode_image(gradient(60, 60)), b"no photo"])
def test_photos_are_answered_as_described(ask: httpx.Client, content: bytes) -> None:
    check(ask.post("/v1/predict", content=content, headers=JPEG), "/v1/predict", "post")


def test_types_are_refused_as_described(ask: httpx.Client) -> None:
    check(ask.post("/v1/predict", content=b"x", headers={"Content-Type": "text/plain"}), "/v1/predict", "post")


@pytest.mark.parametrize("path", ["/v1/state", "/v1/model", "/healthz"])
def test_the_rest_is_answered_as_described(ask: httpx.Client, path: str) -> None:
    check(ask.get(path), path)


def test_the_state_of_a_camera_is_as_described_with_and_without_frames() -> None:
    source = ToldSource(state="lost", problem="unplugged")
    hub = PreviewHub(source=source, silence_s=0.01)
    with serving(hub=hub) as server, client(server) as asking:
        check(asking.get("/v1/state"), "/v1/state")
        write(hub)
        check(asking.get("/v1/state"), "/v1/state")
        answer = asking.get("/healthz")
        assert answer.status_code == 503
        check(answer, "/healthz")
        source.state = "running"
        wait_until(lambda: asking.get("/healthz").status_code == 503)
        check(asking.get("/v1/model"), "/v1/model")


def test_without_a_camera_the_state_is_as_described() -> None:
    with serving() as server, client(server) as asking:
        check(asking.get("/v1/state"), "/v1/state")
