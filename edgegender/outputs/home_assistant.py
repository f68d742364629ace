"""What Home Assistant must be told to show a camera's counts by itself.

One retained message describes the device and all its sensors ("device discovery", Home Assistant 2024.11 or later).

Source: https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import edgegender
from edgegender.outputs.broker import to_identifier

_STATES = ("opening", "running", "lost", "finished")


def discovery_topic(discovery_prefix: str, device_id: str) -> str:
    """Returns the topic that Home Assistant listens to."""
    return f"{discovery_prefix}/device/{device_id}/config"


def discovery_message(
    *, prefix: str, device_id: str, device_name: str, labels: Sequence[str], is_aggregate_only: bool
) -> dict[str, object]:
    """Returns the description of a camera and its sensors.

    There is a sensor of the people seen since the start for each label and for unsure answers, and one of the source's
    state; faces that are there now and frames per second only where more than counts is sent.

    Args:
        prefix: Prefix of the camera's topics.
        device_id: Letters, digits and ``_``; one a camera.
        device_name: What people read.
        labels: Labels of the model.
        is_aggregate_only: Whether nothing but counts is sent.
    """
    components: dict[str, dict[str, object]] = {}
    for label in (*labels, "unsure"):
        # A JSON string is a Jinja string too, whatever the label.
        key = json.dumps(label)
        components[f"people_{to_identifier(label)}"] = {
            "platform": "sensor",
            "name": f"People: {label}",
            "state_topic": f"{prefix}/counts",
            "value_template": "{{ value_json.people_in_all[" + key + "] | default(0) }}",
            "state_class": "total_increasing",
            "icon": "mdi:account-multiple",
        }
    if not is_aggregate_only:
        components["faces"] = {
            "platform": "sensor",
            "name": "Faces now",
            "state_topic": f"{prefix}/faces",
            "value_template": "{{ value_json.faces | length }}",
            "state_class": "measurement",
            "icon": "mdi:face-recognition",
        }
        components["fps"] = {
            "platform": "sensor",
            "name": "Frames per second",
            "state_topic": f"{prefix}/fps",
            "state_class": "measurement",
            "unit_of_measurement": "FPS",
            "entity_category": "diagnostic",
        }
    components["source"] = {
        "platform": "sensor",
        "name": "Source",
        "state_topic": f"{prefix}/source",
        "value_template": "{{ value_json.state }}",
        "device_class": "enum",
        "options": list(_STATES),
        "entity_category": "diagnostic",
    }
    version = edgegender.__version__
    return {
        "device": {
            "identifiers": [device_id],
            "name": device_name,
            "manufacturer": "edgegender",
            "model": "Camera",
            "sw_version": version,
        },
        "origin": {"name": "edgegender", "sw_version": version},
        "availability_topic": f"{prefix}/status",
        "components": {
            name: {**component, "unique_id": f"{device_id}_{name}"} for name, component in components.items()
        },
    }
