"""The description of the server's addresses for programs: OpenAPI 3.1."""

from __future__ import annotations

from edgegender import __version__
from edgegender.serving.uploads import FORM_FIELD, FORM_TYPE, PHOTO_TYPES

_LABEL_NOTE = "The label is gender as perceived by the annotators of face photos, never an identity."
_STRING: dict[str, object] = {"type": "string"}
_COUNT: dict[str, object] = {"type": "integer", "minimum": 0}
_SHARE: dict[str, object] = {"type": "number", "minimum": 0, "maximum": 1}
_COUNTS: dict[str, object] = {"type": "object", "additionalProperties": _COUNT}
_BYTES: dict[str, object] = {"type": "string", "contentMediaType": "image/jpeg"}
_ERRORS = {
    "400": "No photo, or a damaged one.",
    "401": "The token is missing or another.",
    "403": "Asked by another web page, or under another host name.",
    "404": "Not served here.",
    "408": "The photo came too slowly.",
    "413": "The photo has too many bytes or pixels.",
    "415": "The body is neither a photo nor a form.",
    "429": "Too many requests from this address; see Retry-After.",
    "500": "The server failed.",
    "503": "Busy, or no picture; see Retry-After.",
}


def _nullable(schema: dict[str, object]) -> dict[str, object]:
    return {"anyOf": [schema, {"type": "null"}]}


def _record(properties: dict[str, dict[str, object]], description: str = "") -> dict[str, object]:
    """Returns the schema of an object with exactly these properties."""
    schema: dict[str, object] = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {**schema, "description": description} if description else schema


def _reference(name: str) -> dict[str, object]:
    return {"$ref": f"#/components/schemas/{name}"}


_FACE = _record(
    {
        "box_xyxy": {
            **_nullable({"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}),
            "description": "Corners in pixels of the upright photo; null where the whole photo is the face.",
        },
        "predicted_label": _STRING,
        "score": _SHARE,
        "scores": {"type": "object", "additionalProperties": _SHARE},
        "is_unsure": {"type": "boolean"},
    },
    _LABEL_NOTE,
)
_PREDICTION = _record(
    {
        "schema": {"const": "edgegender.prediction/1"},
        "status": {"enum": ["ok", "no_face"]},
        "predicted_label": _nullable(_STRING),
        "score": _nullable(_SHARE),
        "is_unsure": _nullable({"type": "boolean"}),
        "faces": {"type": "array", "items": _reference("Face")},
        "problem": _nullable(_STRING),
    },
    "The most prominent face on top, all faces below.",
)
_INTERVAL = _record({"value": _SHARE, "low": _SHARE, "high": _SHARE}, "A measured share with its interval.")
_MODEL = _record(
    {
        "name": _STRING,
        "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "labels": {"type": "array", "items": _STRING},
        "architecture": _STRING,
        "scheme": _STRING,
        "input_size_px": _COUNT,
        "unsure_below": _SHARE,
        "accuracy": _nullable(_reference("Interval")),
        "license": _STRING,
        "intended_use": _STRING,
    }
)
_SOURCE = _record(
    {
        "name": _STRING,
        "is_live": {"type": "boolean"},
        "state": {"enum": ["opening", "running", "lost", "finished"]},
        "problem": _nullable(_STRING),
        "counters": _COUNTS,
    }
)
_CAMERA = _record(
    {
        "source": _nullable(_reference("Source")),
        "is_healthy": {"type": "boolean"},
        "trouble": _nullable(_STRING),
        "is_aggregate_only": {"type": "boolean"},
        "fps": {"type": "number", "minimum": 0},
        "stage_ms": {"type": "object", "additionalProperties": {"type": "number", "minimum": 0}},
        "latency_ms": _nullable({"type": "number"}),
        "frame": _nullable(_COUNT),
        "size_wh": _nullable({"type": "array", "items": _COUNT, "minItems": 2, "maxItems": 2}),
        "seconds_since_frame": _nullable({"type": "number", "minimum": 0}),
        "people": _COUNTS,
        "viewers": _COUNT,
    }
)
_STATE = _record(
    {
        "schema": {"const": "edgegender.preview/1"},
        "version": _STRING,
        "camera": _nullable(_reference("Camera")),
        "listeners": _COUNT,
        "predictions": _COUNTS,
        "refused": _COUNTS,
        "max_upload_bytes": _nullable(_COUNT),
    }
)
_SCHEMAS: dict[str, dict[str, object]] = {
    "Error": _record({"error": _STRING, "hint": _STRING}, "What was wrong, and what to do next."),
    "Face": _FACE,
    "Prediction": _PREDICTION,
    "Interval": _INTERVAL,
    "Model": _MODEL,
    "Source": _SOURCE,
    "Camera": _CAMERA,
    "State": _STATE,
    "Health": _record({"status": {"enum": ["ok", "trouble"]}, "reason": _nullable(_STRING)}),
}


def _answer(description: str, media_type: str, schema: dict[str, object]) -> dict[str, object]:
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _get(
    name: str, summary: str, answers: dict[str, dict[str, object]], *, errors: tuple[str, ...]
) -> dict[str, object]:
    refused = {status: _answer(_ERRORS[status], "application/json", _reference("Error")) for status in errors}
    return {"get": {"operationId": name, "summary": summary, "responses": {**answers, **refused}}}


def _predict() -> dict[str, object]:
    photo = {"type": "string", "contentMediaType": "application/octet-stream"}
    form = {"type": "object", "properties": {FORM_FIELD: photo}, "required": [FORM_FIELD]}
    bodies: dict[str, object] = {media_type: {"schema": photo} for media_type in PHOTO_TYPES}
    refused = {status: _answer(text, "application/json", _reference("Error")) for status, text in _ERRORS.items()}
    return {
        "post": {
            "operationId": "predict",
            "summary": "Answers the faces of one photo.",
            "description": f"{_LABEL_NOTE} The photo is not kept.",
            "requestBody": {"required": True, "content": {**bodies, FORM_TYPE: {"schema": form}}},
            "responses": {"200": _answer("The answer.", "application/json", _reference("Prediction")), **refused},
        }
    }


def _paths() -> dict[str, object]:
    all_well, common = "The answer.", ("401", "403", "429")
    return {
        "/v1/predict": _predict(),
        "/v1/model": _get(
            "getModel", "What answers.", {"200": _answer(all_well, "application/json", _reference("Model"))},
            errors=(*common, "404"),
        ),
        "/v1/state": _get(
            "getState", "Source, speed, counts.", {"200": _answer(all_well, "application/json", _reference("State"))},
            errors=common,
        ),
        "/v1/events": _get(
            "getEvents", "The camera's events as they happen, of type faces at most ten a second.",
            {"200": _answer("Server-sent events; data is a camera event.", "text/event-stream", _STRING)},
            errors=(*common, "404", "503"),
        ),
        "/v1/snapshot.jpg": _get(
            "getSnapshot", "The next picture.", {"200": _answer("A JPEG file.", "image/jpeg", _BYTES)},
            errors=(*common, "404", "503"),
        ),
        "/stream.mjpg": _get(
            "getStream", "The live picture.",
            {"200": _answer("JPEG files, one after the other.", "multipart/x-mixed-replace", _STRING)},
            errors=(*common, "404", "503"),
        ),
        "/healthz": _get(
            "getHealth", "Whether the camera is well; needs no token.",
            {
                "200": _answer("All is well.", "application/json", _reference("Health")),
                "503": _answer("The source is lost, or no frame comes.", "application/json", _reference("Health")),
            },
            errors=("403",),
        ),
        "/metrics": _get(
            "getMetrics", "Counts for Prometheus.", {"200": _answer(all_well, "text/plain", _STRING)}, errors=common
        ),
    }  # fmt: skip


def describe_api() -> dict[str, object]:
    """Returns the description of all addresses but those of the page.

    Source: OpenAPI Specification 3.1.1.
    """
    return {
        "openapi": "3.1.1",
        "info": {"title": "edgegender", "version": __version__, "description": _LABEL_NOTE},
        "servers": [{"url": "/"}],
        "paths": _paths(),
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "query": {"type": "apiKey", "in": "query", "name": "token"},
            },
        },
        "security": [{"bearer": []}, {"query": []}, {}],
    }
