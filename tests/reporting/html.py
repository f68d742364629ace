"""What a page consists of, as a browser's parser would see it."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

Attributes = dict[str, str | None]


class Page(HTMLParser):
    """The tags of a page with their attributes, in their order, and its text.

    Args:
        file: The page.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, Attributes]] = []
        self.texts: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(" ".join(data.split()))

    def all(self, tag: str) -> list[Attributes]:
        """Returns the attributes of each such tag."""
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def handlers(self) -> list[str]:
        """All attributes that a browser would run as script."""
        return [name for _, attributes in self.tags for name in attributes if name.startswith("on")]

    @property
    def policy(self) -> str:
        """The page's own content security policy."""
        (policy,) = [str(meta["content"]) for meta in self.all("meta") if "http-equiv" in meta]
        return policy
