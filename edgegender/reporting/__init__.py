"""Tables and figures from recorded results."""
