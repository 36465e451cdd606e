"""Which level of capture mode counts, and whom an allow-list lets through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.workspaces import capture_rules
from postroom.workspaces.capture_rules import NO_CAPTURE, Capture, capture, of_environment, strictest

NAMES = st.sampled_from(["ana", "ben", "carla+x"])
DOMAINS = st.sampled_from(["a.example", "b.example", "sub.a.example"])
ADDRESSES = st.builds("{}@{}".format, NAMES, DOMAINS)
LISTS = st.lists(st.one_of(ADDRESSES, DOMAINS), min_size=1, max_size=4).map(", ".join)
ALL, ME = capture("all"), capture("redirect", to="me@x.example")


def allow(text: str, level: str = "") -> Capture:
    return capture("allow", allowed=text, level=level)


@given(LISTS, ADDRESSES)
def test_a_list_lets_through_exactly_what_it_names(text: str, addr_spec: str) -> None:
    entries = text.split(", ")
    assert allow(text).lets_through(addr_spec) == (
        addr_spec in entries or addr_spec.partition("@")[2] in entries
    )


@given(st.lists(LISTS, min_size=1, max_size=3), ADDRESSES)
def test_of_several_lists_each_must_name_an_address(texts: list[str], addr_spec: str) -> None:
    found = strictest([allow(text) for text in texts])
    assert found.lets_through(addr_spec) == all(allow(text).lets_through(addr_spec) for text in texts)


@given(st.permutations([ALL, ME, allow("x.example"), NO_CAPTURE]))
def test_keeping_everything_in_comes_before_everything_else(captures: list[Capture]) -> None:
    assert strictest(captures) == ALL
    assert not strictest(captures).lets_through("me@x.example")


@given(st.lists(st.sampled_from([ALL, ME, allow("x.example"), NO_CAPTURE]), max_size=4), ADDRESSES)
def test_a_level_more_never_lets_more_through(captures: list[Capture], addr_spec: str) -> None:
    for more in (ALL, ME, allow("x.example")):
        if strictest([*captures, more]).lets_through(addr_spec):
            assert strictest(captures).lets_through(addr_spec)


def test_a_redirection_comes_before_a_list_that_has_its_address() -> None:
    assert strictest([allow("x.example"), ME]) == ME


def test_a_redirection_to_where_another_level_lets_nothing_go_keeps_everything_in() -> None:
    found = strictest([allow("b.example", "environment"), ME])
    assert (found.mode, found.level) == ("all", "environment")


def test_nothing_set_lets_everything_leave() -> None:
    assert strictest([NO_CAPTURE, NO_CAPTURE]).lets_through("ben@example.org")


@pytest.mark.parametrize(
    ("text", "mode", "to"),
    [
        ("off", "", ""),
        ("", "", ""),
        ("all", "all", ""),
        ("redirect:Me@X.example", "redirect", "me@x.example"),
        ("redirect: me@x.example", "redirect", "me@x.example"),
        ("allow:dom.example,a@b.example", "allow", ""),
    ],
)
def test_the_environment_says_it_in_one_word(text: str, mode: str, to: str) -> None:
    found = of_environment(text)
    assert (found.mode, found.to) == (mode, to)
    assert found.level == ("environment" if mode else "")


@pytest.mark.parametrize(
    "text", ["on", "redirect", "redirect:", "redirect:me", "allow:", "allow", "allow:a b@"]
)
def test_the_environment_is_refused_with_the_forms_it_may_have(text: str) -> None:
    with pytest.raises(ValueError, match=r"off, all, redirect:you@example\.com or allow:"):
        of_environment(text)


def test_what_lies_unreadable_in_a_table_keeps_everything_in() -> None:
    assert capture_rules.stored("redirect", to="", allowed="", level="workspace").mode == "all"
    assert capture_rules.stored("allow", to="", allowed="", level="workspace").mode == "all"
    assert capture_rules.stored("nonsense", to="", allowed="", level="workspace").mode == "all"


def test_an_empty_list_lets_nobody_through() -> None:
    assert not Capture("allow").lets_through("ben@example.org")
