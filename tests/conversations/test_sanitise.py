"""What is shown of HTML from outside, and its text."""

from __future__ import annotations

import time

import nh3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.conversations.sanitise import clean_html, html_of, text_of

FRAGMENTS = st.sampled_from(
    [
        *("<p>", "</p>", "<b>", "</table>", "<td style='color:red;position:fixed'>", "<script>", "</script>"),
        *(
            "<svg onload=x>",
            "<img src=x onerror=y>",
            "<a href='java&#115;cript:z'>",
            "&lt;",
            "&",
            "<!--",
            "-->",
        ),
        *("text", "\x00", "\x02to\x03", "'", '"', "\ud800"),
    ]
)


@pytest.mark.parametrize(
    ("given_html", "shown"),
    [
        ("<p onclick=x>Hi</p>", "<p>Hi</p>"),
        ("<script>alert(1)</script>ok", "ok"),
        ("<style>p{color:red}</style>ok", "ok"),
        ("<svg><a xlink:href='javascript:x'>k</a></svg>ok", "ok"),
        ("<iframe src='//evil.example'></iframe>ok", "ok"),
        ("<form action='//evil.example'><input name=a>ok</form>", "ok"),
        ("<a href='javascript:x'>k</a>", '<a rel="noopener noreferrer nofollow">k</a>'),
        ("<img src='data:text/html,x'>", "<img>"),
        ("<img src='cid:a@b' onerror=x>", '<img src="cid:a@b">'),
        ("<img src='/accounts/logout/'>", "<img>"),
        ("<img src='//demo.example/records/2'>", "<img>"),
        ("<img src='https:records/2'>", "<img>"),
        ("<img src=' h\nttps:/records/2'>", "<img>"),
        ("<img src='https://shop.example/a.png'>", '<img src="https://shop.example/a.png">'),
        ("<a href='../records/2'>k</a>", '<a rel="noopener noreferrer nofollow">k</a>'),
        ("<a href='#k'>k</a>", '<a href="#k" rel="noopener noreferrer nofollow">k</a>'),
        ("<p style='position:fixed;color:red'>k</p>", '<p style="color:red">k</p>'),
        ("<p style='background:url(//evil.example)'>k</p>", '<p style="">k</p>'),
        ("<p id=chatter class=button name=x>k</p>", "<p>k</p>"),
        ("<base href='//evil.example'><meta http-equiv=refresh>k", "k"),
    ],
)
def test_only_what_is_on_the_list_is_shown(given_html: str, shown: str) -> None:
    assert clean_html(given_html) == shown


@given(st.lists(FRAGMENTS, max_size=30).map("".join))
def test_cleaning_twice_changes_nothing_and_no_mark_of_ours_gets_through(html: str) -> None:
    once = clean_html(html)
    assert clean_html(once) == once
    assert not {"\x00", "\x02", "\x03"} & set(once)
    assert "<script" not in once
    assert text_of(once) is not None


@given(st.text(max_size=300))
def test_text_becomes_html_that_cleaning_leaves_alone(text: str) -> None:
    shown = html_of(text)
    assert nh3.clean(shown, tags={"p", "br"}).replace("<br>", "<br>") == clean_html(shown)


def test_lines_and_paragraphs_of_text_stay() -> None:
    assert html_of("a\nb\n\n\nc\r\n") == "<p>a<br>\nb</p>\n<p>c</p>"
    assert text_of(html_of("a\nb\n\n\nc\r\n")) == "a\nb\n\nc"


def test_links_and_lists_are_readable_as_text() -> None:
    assert text_of('<ul><li>one</li><li><a href="https://e.example">two</a></li></ul>') == (
        "* one\n  * [two](https://e.example)"
    )


@pytest.mark.parametrize(
    "html",
    [
        "<div>x" * 100_000,
        "<b>x" * 50_000,
        "<table><tr><td>x" * 20_000,
        "<p>x" * 50_000,
        "<div t='</div>'>x" * 9_000,
    ],
)
def test_deep_nesting_loses_no_word_and_takes_no_time(html: str) -> None:
    started = time.perf_counter()
    text = text_of(clean_html(html))
    assert time.perf_counter() - started < 20  # minutes, if nothing stops it
    assert text.count("x") == html.count("x")


def test_a_long_mail_is_no_deep_one() -> None:
    assert (
        text_of(clean_html("a<br>" * 5_000 + "<table>" + "<tr><td>b</td></tr>" * 5_000 + "</table>")).count(
            "b"
        )
        == 5_000
    )
