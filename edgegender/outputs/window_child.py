"""The window's own process: a program of the standard library alone, run by :mod:`edgegender.outputs.window`.

It reads pictures from standard input, each as a line ``WIDTH HEIGHT TITLE`` and WIDTH × HEIGHT × 3 bytes of RGB, and
writes a line to standard output when it is ready (``ready``, width and height of the screen) and after each picture
that stands on the screen (``shown``). It ends when the input ends or when somebody closes the window (exit code 0),
when there is no tkinter (3) or no display (4).
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import tkinter

NO_TKINTER, NO_DISPLAY = 3, 4
_POLL_MS = 10
_CLOSING_KEYS = ("<Escape>", "q")

_Picture = tuple[str, bytes]  # title, portable pixmap


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _read(stream: IO[bytes], pictures: queue.Queue[_Picture | None]) -> None:
    """Reads pictures until the input ends."""
    while line := stream.readline():
        width, height, title = line.decode().rstrip("\n").split(" ", 2)
        content = stream.read(int(width) * int(height) * 3)
        if len(content) < int(width) * int(height) * 3:
            break
        pictures.put((title, f"P6 {width} {height} 255\n".encode() + content))
    pictures.put(None)


class _Window:
    def __init__(self, root: tkinter.Tk, pictures: queue.Queue[_Picture | None]) -> None:
        import tkinter

        self._root = root
        self._pictures = pictures
        self._image = tkinter.PhotoImage(master=root)
        self._label = tkinter.Label(root, image=self._image, borderwidth=0, highlightthickness=0)
        self._label.pack()
        root.title("edgegender")
        root.resizable(width=False, height=False)
        for key in _CLOSING_KEYS:
            root.bind(key, lambda _event: root.destroy())
        root.after(_POLL_MS, self._poll)

    def _poll(self) -> None:
        try:
            picture = self._pictures.get_nowait()
        except queue.Empty:
            self._root.after(_POLL_MS, self._poll)
            return
        if picture is None:
            self._root.destroy()
            return
        title, pixmap = picture
        self._root.title(title)
        self._image.configure(data=pixmap, format="PPM")
        self._root.update_idletasks()
        _say("shown")
        self._root.after(1, self._poll)


def main() -> int:
    """Shows pictures until there are no more, and returns the exit code."""
    try:
        import tkinter
    except ImportError:
        return NO_TKINTER
    try:
        root = tkinter.Tk(className="edgegender")
    except tkinter.TclError as error:
        sys.stderr.write(f"{error}\n")
        return NO_DISPLAY
    _say(f"ready {root.winfo_screenwidth()} {root.winfo_screenheight()}")
    pictures: queue.Queue[_Picture | None] = queue.Queue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, pictures), daemon=True).start()
    _Window(root, pictures)
    root.mainloop()
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # the thread that waits for a picture holds the input, which Python would wait for
