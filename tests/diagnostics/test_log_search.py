"""Finding lines: in every file and form that the log has, by all that a line says."""

from __future__ import annotations

import gzip
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroom.diagnostics import log_pages, log_search
from postroom.diagnostics.log_lines import DIALECTS, Cover, MessageId, Own, Person, line
from postroom.diagnostics.log_pages import Place
from postroom.diagnostics.log_search import Looked, Wanted

OLD, NEW = b"o" * 32, b"n" * 32
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def sent(number: int, address: str, *, dialect: str = "human", key: bytes = NEW, day: int = 21) -> str:
    at = datetime(2026, 11, day, 10, 0, number % 60, tzinfo=UTC)
    about = [("message", Own(f"<{number}@demo.example>")), ("workspace", Own("demo")), ("email", number)]
    said = ("INFO", "sent", *about, ("to", Person(address)), ("reply", "250 ok"))
    return line(DIALECTS[dialect], Cover(key), at, said)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four days: the two newest plain, one compressed under the key of before, one older than all of this."""
    (tmp_path / "postroom.log").write_text(
        sent(4, "ben@example.org")
        + "2026-11-21 10:00:30.000Z ERROR postroom.sending: It failed for <4@demo.example>\n    Traceback\n"
        + "2026-11-21 10:00:31.000Z INFO log_gap lines=1\n"
    )
    (tmp_path / "postroom.log.1").write_text(sent(3, "ana@example.com", dialect="json", day=20))
    with gzip.open(tmp_path / "postroom.log.2026-11-19.gz", "wt") as file:
        file.write(sent(2, "ben@example.org", key=OLD, day=19))
    old = tmp_path / "postroom.log.2026-11-18"
    old.write_text("2026-11-18T10:00:00.123456Z [info     ] Mail to b****@example.org [postroom.sending]\n")
    at = datetime(2026, 11, 18, 10, tzinfo=UTC).timestamp()
    os.utime(old, (at, at))
    return tmp_path


def found(folder: Path, **wanted: object) -> list[str]:
    some = log_search.search(folder, Wanted(**wanted, keys=(NEW, OLD)), Looked())  # type: ignore[arg-type]
    return [each.file for each in some]


def test_everything_is_read_oldest_first(folder: Path) -> None:
    assert found(folder) == [
        "postroom.log.2026-11-18",
        "postroom.log.2026-11-19.gz",
        "postroom.log.1",
        *["postroom.log"] * 3,
    ]


def test_an_address_is_found_by_the_tags_of_all_keys(folder: Path) -> None:
    assert found(folder, address="Ben@example.org") == ["postroom.log.2026-11-19.gz", "postroom.log"]
    assert found(folder, address="n@example.org") == []


def test_an_address_that_is_shown_whole_is_found_too(tmp_path: Path) -> None:
    cover = Cover(NEW, is_off=True)
    written = line(DIALECTS["human"], cover, NOW, ("INFO", "sent", ("to", Person("ben@example.org"))))
    (tmp_path / "postroom.log").write_text(written)
    assert len(found(tmp_path, address="ben@example.org")) == 1
    assert found(tmp_path, address="en@example.org") == found(tmp_path, address="ben@example.or") == []


def test_a_message_is_found_by_its_id_and_where_words_name_it(folder: Path) -> None:
    assert found(folder, message_id="4@demo.example") == ["postroom.log", "postroom.log"]
    assert found(folder, message_id="<3@demo.example>") == ["postroom.log.1"]


def test_a_reply_that_names_another_message_is_no_line_of_it(tmp_path: Path) -> None:
    said = ("INFO", "sent", ("message", Own("<1@demo.example>")), ("reply", "250 <2@demo.example> email=7"))
    (tmp_path / "postroom.log").write_text(line(DIALECTS["human"], Cover(NEW, is_off=True), NOW, said))
    assert found(tmp_path, message_id="<2@demo.example>") == []
    assert found(tmp_path, email_id=7) == []
    assert len(found(tmp_path, text="EMAIL=7")) == 1


@pytest.mark.parametrize("key", [OLD, NEW])
@pytest.mark.parametrize("dialect", ["human", "json"])
@pytest.mark.parametrize(
    "given", ["<CAF+x_Y=z@mail.example>", "<secret@[192.0.2.1]>", "<no address>", f"<{'a' * 32}@e.example>"]
)
def test_a_message_of_a_stranger_is_found_by_its_id(
    tmp_path: Path, given: str, dialect: str, key: bytes
) -> None:
    said = ("INFO", "received", ("id", MessageId(given)))
    words = DIALECTS[dialect].free(NOW, "INFO", "postroom.filing", Cover(key).foreign(f"Filed {given}"))
    (tmp_path / "postroom.log").write_text(line(DIALECTS[dialect], Cover(key), NOW, said) + words)
    assert len(found(tmp_path, message_id=given)) == 2
    assert len(found(tmp_path, message_id=given.strip("<>"))) == 2
    assert found(tmp_path, message_id=f"<x{given[1:]}") == []


def test_an_email_is_found_by_its_number_and_no_other(folder: Path) -> None:
    assert found(folder, email_id=3) == ["postroom.log.1"]
    assert found(folder, email_id=30) == []


def test_a_time_leaves_out_what_is_before_and_after(folder: Path) -> None:
    since, until = datetime(2026, 11, 19, tzinfo=UTC), datetime(2026, 11, 20, 23, tzinfo=UTC)
    assert found(folder, since=since, until=until) == ["postroom.log.2026-11-19.gz", "postroom.log.1"]


def test_a_traceback_belongs_to_its_line(folder: Path) -> None:
    some = list(log_search.search(folder, Wanted(text="traceback"), Looked()))
    assert [each.text.count("\n") for each in some] == [1]


def test_a_broken_file_is_told_and_the_others_are_read(folder: Path) -> None:
    packed = folder / "postroom.log.2026-11-19.gz"
    packed.write_bytes(packed.read_bytes()[:-9])
    looked = Looked()
    assert len(list(log_search.search(folder, Wanted(), looked))) >= 5
    assert [name for name, _ in looked.unread] == [packed.name]


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2d", datetime(2026, 11, 19, 12, tzinfo=UTC)),
        ("90 m", datetime(2026, 11, 21, 10, 30, tzinfo=UTC)),
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
        ("2026-11-20T07:00+02:00", datetime(2026, 11, 20, 5, tzinfo=UTC)),
    ],
)
def test_times_are_read_as_people_write_them(text: str, at: datetime) -> None:
    assert log_search.moment(text, NOW) == at


def test_pages_go_from_the_newest_line_to_the_oldest_and_repeat_none(folder: Path) -> None:
    whole = [each.text for each in log_search.search(folder, Wanted(), Looked())]
    for size in (1, 2, 4, 50):
        texts: list[str] = []
        before: Place | None = None
        while True:
            page = log_pages.newest(folder, Wanted(), before=before, size=size)
            texts += [each.text for each in page.found]
            if page.next is None:
                break
            before = Place.parse(str(page.next))
            assert before is not None
        assert texts == whole[::-1], size


def test_a_page_reads_only_so_much_and_says_where_it_goes_on(tmp_path: Path) -> None:
    (tmp_path / "postroom.log").write_text("".join(sent(number, "ben@example.org") for number in range(5000)))
    page = log_pages.newest(tmp_path, Wanted(email_id=3), octets=100_000)
    assert (list(page.found), page.is_cut) == ([], True)
    pages = 1
    while not page.found:
        page, pages = (
            log_pages.newest(tmp_path, Wanted(email_id=3), before=page.next, octets=100_000),
            pages + 1,
        )
    assert page.found[0].fields["email"] == "3"
    assert pages > 5


def test_a_compressed_file_that_is_too_large_for_a_page_is_told_and_left_out(folder: Path) -> None:
    with gzip.open(folder / "postroom.log.2026-11-19.gz", "wt") as file:
        file.writelines(sent(number, "ben@example.org", day=19) for number in range(5000))
    page = log_pages.newest(folder, Wanted(text="b****"), size=5, octets=50_000)
    assert page.next is not None
    assert "postroom.log.2026-11-19.gz" not in [name for name, _ in page.looked.unread], "it has its own page"
    page = log_pages.newest(folder, Wanted(text="b****"), before=page.next, size=5000, octets=50_000)
    assert ("postroom.log.2026-11-19.gz", "too large") in page.looked.unread
    assert 100 < len(page.found) < 5000, "what was read of it is shown"
    assert page.is_cut
    older = log_pages.newest(folder, Wanted(text="b****"), before=page.next, octets=50_000)
    assert [each.file for each in older.found] == ["postroom.log.2026-11-18"]


def test_every_line_of_a_large_compressed_file_that_was_read_is_on_some_page(folder: Path) -> None:
    with gzip.open(folder / "postroom.log.2026-11-19.gz", "wt") as file:
        file.writelines(sent(number, "ben@example.org", day=19) for number in range(400))
    place: Place | None = Place(datetime(2026, 11, 19, tzinfo=UTC).date(), 1)
    numbers: list[int] = []
    while place is not None and place.day.day == 19:
        page = log_pages.newest(folder, Wanted(workspace="demo"), before=place, size=50, octets=20_000)
        numbers += [int(each.fields["email"]) for each in page.found]
        place = page.next
    assert len(numbers) > 100
    assert numbers == list(range(numbers[0], -1, -1))


@pytest.mark.parametrize("offset", [10**12, 2**63 - 1, 2**70, -5])
def test_a_page_before_an_octet_that_no_file_has_is_a_page(folder: Path, offset: int) -> None:
    for day in (19, 20, 21):
        before = Place.parse(f"2026-11-{day}.1:{offset}")
        assert before is not None
        assert len(log_pages.newest(folder, Wanted(), before=before).found) < 7


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00", "0001-01-01", "999999w"]
)
def test_a_time_beyond_the_calendar_finds_all_or_nothing(folder: Path, text: str) -> None:
    at = log_search.moment(text, NOW)
    is_early = text[0] == "0" or text[-1] == "w"
    assert len(found(folder, since=at)) == (6 if is_early else 0)
    assert len(found(folder, until=at)) == (0 if is_early else 6)
    assert len(log_pages.newest(folder, Wanted(since=at)).found) == (6 if is_early else 0)


def test_a_page_stops_where_nothing_older_can_fit(folder: Path) -> None:
    page = log_pages.newest(folder, Wanted(since=datetime(2026, 11, 21, 9, tzinfo=UTC)))
    assert len(page.found) == 3
    assert "postroom.log.2026-11-19.gz" not in page.looked.files


@settings(max_examples=30)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=60), st.integers(64, 4096))
def test_backwards_is_forwards_the_other_way_round(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], block: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "postroom.log"
    path.write_text(
        "".join(
            f"{number} {'x' * length}\n{'    more' * (number % 2)}\n" for number, length in enumerate(lengths)
        ).replace("\n\n", "\n")
    )
    with path.open("rb") as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_pages, "_BLOCK", block)
        forwards = list(log_search.records(file, "postroom.log"))
        assert list(log_pages._backwards(file, "postroom.log", None)) == forwards[::-1]
