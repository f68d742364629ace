"""An environment of its own, as on a device."""
