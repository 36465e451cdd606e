"""Quoted mail is folded, and nothing is lost."""

from hypothesis import given
from hypothesis import strategies as st

from postroom.web.quotes import fold_quotes

FOLD = '<details class="quoted"><summary>Quoted</summary>'


def test_a_quote_inside_a_quote_is_folded_once() -> None:
    """With the outer one."""
    body = "a<blockquote>b<blockquote>c</blockquote></blockquote>d"
    assert fold_quotes(body, "Quoted") == (
        f"a{FOLD}<blockquote>b<blockquote>c</blockquote></blockquote></details>d"
    )


@given(
    st.lists(st.sampled_from(["text", "<blockquote>", "</blockquote>", "<p>x</p>", "<BLOCKQUOTE cite='a'>"]))
)
def test_folding_changes_nothing_but_the_folds(pieces: list[str]) -> None:
    """Whatever the body is."""
    body = "".join(pieces)
    folded = str(fold_quotes(body, "Quoted"))
    assert folded.replace(FOLD, "").replace("</details>", "") == body
    assert folded.count(FOLD) == folded.count("</details>")
