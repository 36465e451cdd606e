"""What people read of a database's URL."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom_server.store import databases


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql:///pr1", "postgresql:///pr1"),
        ("postgresql://db.example:5433/pr1", "postgresql://db.example:5433/pr1"),
        ("postgresql://ana@db.example/pr1", "postgresql://ana@db.example/pr1"),
        ("postgresql://ana:s3cret@db.example/pr1", "postgresql://ana:(hidden)@db.example/pr1"),
        ("postgresql://ana:@/pr1?host=/run/pg", "postgresql://ana:@/pr1?host=/run/pg"),
        ("postgresql://ana:s3cret@%2Frun%2Fpg/pr1", "postgresql://ana:(hidden)@%2Frun%2Fpg/pr1"),
        (
            "postgresql:///pr1?host=/run/pg&user=ana&password=s3cret",
            "postgresql:///pr1?host=/run/pg&user=(hidden)&password=(hidden)",
        ),
        ("postgresql://ana:s3?cret@db.example/pr1", "postgresql://(hidden)"),
        ("postgresql://ana:s3@c/r#et@db.example/pr1", "postgresql://ana:(hidden)@db.example/pr1"),
    ],
)
def test_a_database_is_shown_with_its_place_and_without_its_password(url: str, shown: str) -> None:
    assert databases.shown(url) == shown


@given(password=st.text(min_size=4).map(lambda text: f"<{text}>"), is_quoted=st.booleans())
def test_no_password_is_ever_shown(password: str, is_quoted: bool) -> None:
    written = quote(password, safe="") if is_quoted else password
    shown = databases.shown(
        f"postgresql://ana:{written}@db.example/pr1?password={quote(password)}&host=/run/pg"
    )
    assert written not in shown
    assert quote(password) not in shown
    assert shown.startswith("postgresql://")
