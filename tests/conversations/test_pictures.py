"""Pictures inside HTML become files, and links become whole."""

from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.conversations.pictures import MOST_PICTURES, unpacked
from postroom.conversations.sanitise import clean_html

PNG = base64.b64encode(b"\x89PNG").decode()
BASE = "https://post.example"


def image(content: bytes = b"\x89PNG", kind: str = "image/png") -> str:
    return f'<img src="data:{kind};base64,{base64.b64encode(content).decode()}">'


def test_a_picture_in_the_text_becomes_a_file_that_the_text_shows() -> None:
    found = unpacked(f"<p>Look: {image()}</p>")
    [picture] = found.pictures
    assert (picture.name, picture.content_type, picture.content) == ("picture-1.png", "image/png", b"\x89PNG")
    assert f'src="cid:{picture.content_id}"' in clean_html(found.html)


def test_the_same_picture_twice_is_one_file() -> None:
    found = unpacked(image() + image())
    assert (len(found.pictures), found.html.count("cid:")) == (1, 2)


def test_there_is_an_end_to_pictures() -> None:
    found = unpacked("".join(image(bytes([number])) for number in range(MOST_PICTURES + 20)))
    assert len(found.pictures) == MOST_PICTURES
    assert "data:" not in clean_html(found.html)


@pytest.mark.parametrize(
    "kind", ["image/svg+xml", "text/html", "image/png;charset=x", "application/octet-stream", "image/x-evil"]
)
def test_only_what_every_program_shows_is_taken(kind: str) -> None:
    found = unpacked(image(kind=kind))
    assert found.pictures == []
    assert "data:" not in clean_html(found.html)


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("/orders/5?a=1", f"{BASE}/orders/5?a=1"),
        ("orders/5", f"{BASE}/orders/5"),
        ("https://other.example/x", "https://other.example/x"),
        ("mailto:ana@demo.example", "mailto:ana@demo.example"),
        ("#top", "#top"),
        ("//evil.example/x", None),
        ("/\\evil.example", None),
        ("\\\\evil.example", None),
        ("javascript:alert(1)", None),
        ("java\tscript:alert(1)", None),
        ("data:text/html,x", None),
    ],
)
def test_a_link_leads_somewhere_from_a_mail_too(url: str, whole: str | None) -> None:
    cleaned = clean_html(unpacked(f'<a href="{url}">x</a>', BASE).html)
    assert (f'href="{whole}"' in cleaned) if whole else ("href" not in cleaned)


def test_what_came_in_gets_no_links_to_our_own_pages() -> None:
    assert "href" not in clean_html(unpacked('<a href="/accounts/logout/">x</a>').html)


@given(st.text(st.characters(codec="utf-8")), st.binary(max_size=50))
def test_whatever_stands_around_a_picture_it_is_cleaned_as_ever(around: str, content: bytes) -> None:
    cleaned = clean_html(unpacked(f'{around}{image(content)}<a href="x">{around}').html)
    assert "<script" not in cleaned
    assert "data:image" not in cleaned or "data:image" in around


def test_html_nested_beyond_reason_takes_no_time() -> None:
    started = time.process_time()
    unpacked("<div>" * 200_000 + image())
    assert time.process_time() - started < 1
