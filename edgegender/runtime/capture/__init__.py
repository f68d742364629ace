"""Sources of frames: USB and Raspberry Pi cameras, streams, video files, photos, raw frames.

Native code that reads a camera or a stream runs in a child process: one that hangs or crashes is started again.
"""

from edgegender.runtime.capture.options import CaptureOptions
from edgegender.runtime.capture.sources import open_source

__all__ = ["CaptureOptions", "open_source"]
