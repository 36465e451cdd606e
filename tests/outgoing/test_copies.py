"""Each recipient's copy: substituted, and on the wire without being looked through again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.outgoing.copies import Text
from postroom.smtp.connection import on_the_wire

VALUES = {b"to": b"Ben <ben@example.org>", b"copy": b"abc"}
PIECES = st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"a", b"To: %(to)b", b"%(copy)b", b"%%"]))


@given(PIECES.map(b"".join))
def test_a_copy_called_stuffed_is_what_goes_on_the_wire(octets: bytes) -> None:
    content = octets % VALUES
    assert not Text.of(octets, "").is_stuffed or on_the_wire(content) == content


@pytest.mark.parametrize("body", [b".\r\n", b"a\r\n.b\r\n", b"a\r.\r\n", b"no end of line"])
def test_a_dot_or_a_missing_line_end_is_left_to_the_client(body: bytes) -> None:
    assert not Text.of(b"To: %(to)b\r\n\r\n" + body, "").is_stuffed


def test_an_ordinary_letter_is_looked_through_once_for_all_its_recipients() -> None:
    assert Text.of(b"To: %(to)b\r\nX-Postroom-Copy: %(copy)b\r\n\r\nGood morning.\r\n", "").is_stuffed
