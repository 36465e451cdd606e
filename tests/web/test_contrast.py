"""Text can be read: contrast of the colour tokens, computed from the stylesheet (WCAG 2.2, 1.4.3)."""

import math
import re
from pathlib import Path

import pytest

import postroom

TOKENS = (Path(postroom.__file__).parent / "static/postroom/css/tokens.css").read_text()
PAIR = re.compile(r"--([\w-]+): ?light-dark\(oklch\(([^)]+)\), ?oklch\(([^)]+)\)\)")
COLOURS = {name: (light, dark) for name, light, dark in PAIR.findall(TOKENS)}
TEXT = [
    (ink, ground) for ink in ("ink", "ink-2", "ink-3", "link", "failed") for ground in ("canvas", "surface")
]


def _linear_rgb(oklch: str) -> tuple[float, float, float]:
    lightness, chroma, hue = (float(part) for part in oklch.split())
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    red = 4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short
    green = -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short
    blue = -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short
    return (min(max(red, 0), 1), min(max(green, 0), 1), min(max(blue, 0), 1))


def _contrast(first: str, second: str, theme: int) -> float:
    def luminance(name: str) -> float:
        red, green, blue = _linear_rgb(COLOURS[name][theme])
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    bright, dim = sorted((luminance(first), luminance(second)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), [*TEXT, ("ink", "note"), ("ink-2", "note"), ("canvas", "ink")])
def test_words_stand_out_from_their_ground(ink: str, ground: str, theme: int) -> None:
    """4.5 : 1."""
    assert _contrast(ink, ground, theme) >= 4.5


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("sign", ["outgoing", "delayed", "failed", "field"])
def test_signs_and_fields_stand_out_from_their_ground(sign: str, theme: int) -> None:
    """3 : 1."""
    assert _contrast(sign, "canvas", theme) >= 3
