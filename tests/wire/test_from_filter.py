"""From which domains and addresses a server lets us send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.wire.from_filter import FromFilter

DOMAINS = st.sampled_from(["a.example", "b.example", "mail.a.example", "xn--bcher-kva.example"])
ADDRESSES = st.builds("{}@{}".format, st.sampled_from(["ana", "ben", "bounce+x"]), DOMAINS)
FILTERS = st.builds(FromFilter, st.frozensets(ADDRESSES, max_size=3), st.frozensets(DOMAINS, max_size=3))


@pytest.mark.parametrize("text", ["", "  ", ",\n;"])
def test_a_filter_of_nothing_lets_anything_through(text: str) -> None:
    read = FromFilter.parse(text)
    assert read.is_any
    assert read.accepts_address("whoever@anywhere.example")
    assert not read.accepts_exactly("whoever@anywhere.example")
    assert not read.accepts_domain("anywhere.example")


def test_domains_and_addresses_are_read_in_one_normal_form() -> None:
    read = FromFilter.parse("Acme.example, Sales@ACME.example;\n@bücher.example  acme.example.")
    assert read.domains == {"acme.example", "xn--bcher-kva.example"}
    assert read.addresses == {"sales@acme.example"}
    assert str(read) == "acme.example, xn--bcher-kva.example, sales@acme.example"


@pytest.mark.parametrize(
    ("entry", "shown"),
    [
        ("acme", "acme"),
        ("*@acme.example", r"\*@acme.example"),
        ("*.acme.example", r"\*.acme.example"),
        ("a@b@acme.example", "a@b@acme.example"),
        ("sales@", "sales@"),
        ("@", "@"),
        ("192.0.2.1", "192.0.2.1"),
        ("Sales<sales@acme.example>", "Sales<sales@acme.example>"),
    ],
)
def test_what_is_neither_a_domain_nor_an_address_is_named(entry: str, shown: str) -> None:
    with pytest.raises(ValueError, match=f"“{shown}” is neither a domain nor an address. Write for example"):
        FromFilter.parse(f"good.example, {entry}")


def test_a_domain_does_not_stand_for_its_subdomains() -> None:
    read = FromFilter.parse("acme.example")
    assert read.accepts_address("ana@acme.example")
    assert not read.accepts_address("ana@mail.acme.example")
    assert not read.accepts_address("ana@notacme.example")


def test_an_address_does_not_stand_for_its_domain() -> None:
    read = FromFilter.parse("ana@acme.example")
    assert read.accepts_exactly("ana@acme.example")
    assert not read.accepts_address("ben@acme.example")
    assert not read.accepts_domain("acme.example")


@given(FILTERS)
def test_what_is_written_out_reads_the_same(named: FromFilter) -> None:
    assert FromFilter.parse(str(named)) == named


@given(FILTERS, FILTERS, ADDRESSES)
def test_who_covers_another_accepts_all_that_it_accepts(
    one: FromFilter, other: FromFilter, address: str
) -> None:
    if one.covers(other) and other.accepts_address(address):
        assert one.accepts_address(address)


@given(FILTERS)
def test_only_who_takes_anything_covers_who_takes_anything(named: FromFilter) -> None:
    assert named.covers(FromFilter()) == named.is_any
    assert FromFilter().covers(named)
    assert named.covers(named)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_with_a_valueerror(text: str) -> None:
    try:
        read = FromFilter.parse(text)
    except ValueError:
        return
    assert FromFilter.parse(str(read)) == read
