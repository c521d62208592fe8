"""The files that pages load."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final

import pytest

from orchestrator.pages import assets, render
from tests.pages import sample
from tests.pages.markup import Page

FOLDER: Final = Path(assets.__file__).parent / "assets"
BYTES_MAX: Final = 40 * 1024


def error_page() -> Page:
    return Page(render.error_page(404, "There is no such run", "", base_url=sample.BASE_URL))


def test_every_asset_of_a_page_is_there() -> None:
    page = error_page()
    names = [*page.values("script", "src"), *page.values("link", "href")]
    assert len(names) == 4
    for name in names:
        found = assets.asset(name.removeprefix(assets.PREFIX))
        assert found is not None
        content, content_type = found
        assert content
        assert content_type.startswith(("text/css", "text/javascript", "image/svg+xml"))


def test_a_name_tells_its_content() -> None:
    for name in ("app.css", "live.js", "theme.js", "icon.svg"):
        url = assets.url(name)
        found = assets.asset(url.removeprefix(assets.PREFIX))
        assert found is not None
        assert hashlib.sha256(found[0]).hexdigest().startswith(url.split(".")[-2])
        assert found[0] == (FOLDER / name).read_bytes()


@pytest.mark.parametrize("name", ["", "app.css", "app.000000000000.css", "../render.py", "/etc/passwd"])
def test_nothing_else_is_served(name: str) -> None:
    assert assets.asset(name) is None


def test_the_theme_is_known_before_anything_is_painted() -> None:
    head = error_page().html.split("</head>")[0]
    script = re.search(r'<script src="/assets/theme\.\w+\.js"></script>', head)
    assert script is not None
    assert script.start() < head.index("stylesheet")


def test_assets_are_small() -> None:
    total = sum(path.stat().st_size for path in FOLDER.iterdir())
    assert total < BYTES_MAX, f"{total} bytes"


def test_equal_pages_have_equal_tags() -> None:
    assert assets.etag("<p>a") == assets.etag("<p>a")
    assert assets.etag("<p>a") != assets.etag("<p>b")
    assert re.fullmatch(r'"[0-9a-f]{24}"', assets.etag("é"))


# --- colours ------------------------------------------------------------------------------------------------------

TINT: Final = 0.12
"""The strongest mix of a colour into its own background."""


def colours(theme: int) -> dict[str, tuple[int, int, int]]:
    css = (FOLDER / "app.css").read_text("utf-8")
    found = {}
    for name, *pair in re.findall(r"--([a-z]+): light-dark\(#(\w+), #(\w+)\)", css):
        digits = pair[theme] if len(pair[theme]) == 6 else "".join(2 * digit for digit in pair[theme])
        found[name] = (int(digits[0:2], 16), int(digits[2:4], 16), int(digits[4:6], 16))
    return found


def luminance(colour: tuple[float, ...]) -> float:
    parts = [part / 255 for part in colour]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["ink", "soft", "accent", "ok", "bad", "run", "wait", "off"])
def test_text_can_be_read(name: str, theme: int) -> None:
    """WCAG AA asks for 4.5 to 1, on a tint of the text's own colour too."""
    known = colours(theme)
    text = known[name]
    for ground in ("bg", "card", "sunk"):
        assert contrast(text, known[ground]) >= 4.5, ground
    if name not in ("ink", "soft"):
        tinted = tuple(TINT * mine + (1 - TINT) * theirs for mine, theirs in zip(text, known["bg"], strict=True))
        assert contrast(text, tinted) >= 4.5, "tint"
