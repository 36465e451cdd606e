"""Web addresses in messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.web.links import link_addresses


def _link(url: str) -> str:
    return f'<a href="{url}" rel="noopener noreferrer nofollow">{url}</a>'


@pytest.mark.parametrize(
    ("before", "url", "after"),
    [
        ("See ", "https://example.org/a?b=1&amp;c=2", "."),
        ("(", "http://example.org/x", ")"),
        ("", "https://example.org/a_(b)", ", and more"),
        ("&lt;", "https://example.org", "&gt;"),
        ("&quot;", "https://example.org", "&quot;!"),
        ('<p title="x>y">', "HTTPS://example.org", "</p>"),
    ],
)
def test_an_address_is_a_link_without_the_punctuation_around_it(before: str, url: str, after: str) -> None:
    """What stands around it stays where it was."""
    assert link_addresses(before + url + after) == before + _link(url) + after


@pytest.mark.parametrize(
    "body",
    [
        '<a href="https://example.org">https://example.org</a>',
        '<a href="https://example.org"><b>at https://example.org</b></a>',
        '<img src="https://example.org/x.png" alt="https://example.org">',
        "javascript:alert(1) example.org",
    ],
)
def test_links_and_attributes_stay_as_they_are(body: str) -> None:
    """Nothing is linked twice, and nothing but http and https is linked at all."""
    assert link_addresses(body) == body


@given(st.text(alphabet="<>a/\"' &;:.()htps", max_size=200))
def test_nothing_is_lost_whatever_stands_there(text: str) -> None:
    """Without the links it adds, the body is what it was."""
    linked = link_addresses(text)
    for url in {piece.split('"')[0] for piece in linked.split('<a href="')[1:]}:
        linked = linked.replace(_link(url), url)
    assert linked == text
