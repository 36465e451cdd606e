import re
from email import message_from_bytes, policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.wire.mended import mended, needs_mending


@pytest.mark.parametrize(
    "field",
    [
        b"Subject: hello\r\n",
        b"To: a@b.example,\r\n c@d.example\r\n",
        b"X-Long: " + b"a" * 990 + b"\r\n",
        b"X:\r\n",
    ],
)
def test_what_is_in_order_is_left_alone(field: bytes) -> None:
    assert not needs_mending(field)


@pytest.mark.parametrize(
    "field",
    [
        b"Subject: \xc8\x98\r\n",
        b"Subject: a\x0bb\r\n",
        b"Subject: a\r\n \r\n b\r\n",
        b"X: " + b"a" * 996 + b"\r\n",
    ],
)
def test_octets_lines_and_folds_that_may_not_be_are_seen(field: bytes) -> None:
    assert needs_mending(field)


@pytest.mark.parametrize(
    ("field", "name", "value"),
    [
        ("Subject: Ofertă nouă\r\n", "Subject", "Ofertă nouă"),
        ("To: Ștefan <s@x.example>,\r\n b@y.example\r\n", "To", "Ștefan <s@x.example>, b@y.example"),
        ("References: <a@x> é <b@y>\r\n", "References", "<a@x> <b@y>"),
        ('Content-Disposition: attachment; filename="Ofertă.pdf"\r\n', "Content-Disposition", None),
    ],
)
def test_what_can_be_read_is_written_anew(field: str, name: str, value: str | None) -> None:
    mail = message_from_bytes(mended(field.encode()) + b"\r\n", policy=policy.default)
    if value is None:
        assert mail.get_filename() == "Ofertă.pdf"
    else:
        assert str(mail[name]) == value


def test_a_field_in_which_nobody_can_be_read_goes() -> None:
    assert mended("To: é\r\n".encode()) == b""


NAMES = ["Subject", "To", "From", "References", "Content-Type", "Content-Disposition", "X-Some", "Reply-To"]


@given(st.sampled_from(NAMES), st.binary(max_size=3000))
def test_any_octets_become_one_field_in_ascii_lines(name: str, octets: bytes) -> None:
    octets = re.sub(rb"\r\n|\r|\n", b"\r\n ", octets).replace(b"\0", b"")
    field = mended(name.encode() + b": " + octets + b"\r\n")
    assert field.isascii()
    assert not needs_mending(field)
    assert not re.search(rb"\r\n(?![ \t]|\Z)|\r(?!\n)|(?<!\r)\n", field)
    assert field == b"" or field.startswith(name.encode() + b":")
