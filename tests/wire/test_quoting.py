"""What is new in a reply, and what it quotes."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.wire.parse import parse
from postroom.wire.quoting import new_text
from tests.wire.letters import letter

NEW = "Thursday is fine.\n\n"
REPLIES = {
    "English": "On Mon, Nov 2, 2026 at 9:00 AM Ana Pop <ana@example.org> wrote:\n\n> When?\n",
    "English, broken line": "On Mon, Nov 2, 2026 at 9:00 AM Ana Pop\n<ana@example.org> wrote:\n> When?\n",
    "Romanian": "În lun., 2 nov. 2026 la 09:00, Ana Pop <ana@example.org> a scris:\n\n> Când?\n",
    "Spanish": "El lun, 2 nov 2026 a las 9:00, Ana (<ana@example.org>)\r\nescribió:\r\n> x\r\n",
    "a divider": "-----Original Message-----\nFrom: Ana\nWhen?\n",
    "Romanian headers": "De la: Ana Pop\nTrimis: luni\nCătre: Ben\nSubiect: x\n\nCând?\n",
    "Spanish headers": "De: Ana Pop\nEnviado el: lunes\nPara: Ben\nAsunto: x\n\n¿Cuándo?\n",
    "quotes alone": "> When?\n> Tell me.\n",
    "a signature": "-- \nBen\n",
}


@pytest.mark.parametrize("quotation", REPLIES.values(), ids=REPLIES)
def test_the_quoted_mail_is_cut_off(quotation: str) -> None:
    assert new_text(NEW + quotation)[0].strip() == "Thursday is fine."


@pytest.mark.parametrize(
    "text",
    [
        "On Monday we wrote to them: no answer yet.",
        "> When?\nThursday.\n> Where?\nAt the dock.\n",
        "From: the dock\nit leaves at nine.",
        "El camión sale a las 9.",
    ],
)
def test_a_text_that_only_looks_like_a_quotation_stays_whole(text: str) -> None:
    assert new_text(text) == (text, "")


def test_answers_between_and_below_quoted_lines_are_not_cut_off() -> None:
    text = "Hi Ana,\n\nOn Mon, Ana <ana@example.org> wrote:\n> When?\nThursday.\n> Where?\nAt the dock.\n"
    assert new_text(text) == (text, "")
    assert new_text(text + "\n-- \nBen\n") == (text, "\n-- \nBen\n")


def test_what_mail_programs_and_lists_add_below_is_no_answer() -> None:
    text = "On Mon, Ana wrote:\n> When?\n" + "_" * 30 + "\nA mailing list\n"
    assert new_text("Thursday.\n" + text) == ("Thursday.\n", text)


@pytest.mark.parametrize(
    ("name", "new"),
    [
        ("reply-en", "Yes, we take it.\n\nBen"),
        ("reply-ro", "Da, o luăm."),
        ("reply-es", "Sí, la aceptamos."),
        ("reply-outlook-like", "Bună Ana,\n\neste prea scump.\n\nCu stimă,\nCarla"),
    ],
)
def test_the_new_words_of_each_letter_are_found(name: str, new: str) -> None:
    assert new_text(parse(letter(name)).text)[0].strip() == new


def test_a_reply_that_is_all_quotation_is_not_made_empty() -> None:
    assert new_text("> When?\n> Tell me.") == ("> When?\n> Tell me.", "")


@given(
    st.text(alphabet=st.sampled_from("on wrote:>El escribió a scris În-_\r\nFromDe la:Sent\t "), max_size=400)
    | st.text()
)
def test_nothing_is_ever_lost(text: str) -> None:
    new, rest = new_text(text)
    assert new + rest == text
    assert new.strip() or not text.strip()


@pytest.mark.parametrize(
    "line", ["> a\n\n", "on a\n", "De la: x\n", "-- a\n", "> a\nb\n", "On x wrote:\n> a\nb\n"]
)
def test_a_hundred_thousand_lines_are_read_in_linear_time(line: str) -> None:
    started = time.process_time()
    new_text(line * 100_000 + "x")
    assert time.process_time() - started < 5
