"""Recipes, networks and the training loop (Keras 3)."""
