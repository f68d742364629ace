"""Accuracy, F1 and latency of a model file on a target, with the raw values kept."""
