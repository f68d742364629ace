"""Photos become a manifest that can be trusted."""
