"""A small model, its inputs and its exact answers, made once: ``python -m tests.golden.make``."""
