"""Where a camera's results go, beside the browser: lines, a recording, a message broker, a window."""
