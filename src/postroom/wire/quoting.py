"""The new words of a plain-text reply, without the mail it answers: English, Romanian, Spanish.

Nothing is ever lost: what is new and what is quoted together are the text, to the letter.
"""

from __future__ import annotations

import re

_ATTRIBUTION_LINES = 4  # a client may break the line that names the author; it never needs more
_LONGEST_ATTRIBUTION = 400

#: "On <date>, <name> wrote:" and its like; the text is folded to one line before it is matched.
_ATTRIBUTION = re.compile(
    r"\s*>?\s*(?:"
    r"on\b.{4,}\bwrote"
    r"|(?:în|in|pe)\b.{4,}\ba scris"
    r"|el\b.{4,}\bescribi[óo]"
    r")\s*:\s*\Z",
    re.IGNORECASE | re.DOTALL,
)
_ATTRIBUTION_START = re.compile(r"\s*(?:on|în|in|pe|el)\b", re.IGNORECASE)
_DIVIDER = re.compile(
    r"\s*(?:-{2,}\s*(?:original message|mesaj(?:ul)? original|mensaje original|forwarded message"
    r"|mesaj redirecționat|mensaje reenviado)\s*-{2,}|_{20,})\s*\Z",
    re.IGNORECASE,
)
_HEADER_FROM = re.compile(r"\s*\*?(?:from|de la|de)\s*:\*?\s*\S", re.IGNORECASE)
_HEADER_NEXT = re.compile(
    r"\s*\*?(?:sent|date|trimis|data|enviado(?: el)?|fecha|to|către|para|subject|subiect|asunto)\s*:",
    re.IGNORECASE,
)
_SIGNATURE = re.compile(r"-- ?\r?\n?\Z")


def new_text(text: str) -> tuple[str, str]:
    """Split a reply into what is new and what is quoted behind it.

    The two parts together are `text`. The first is empty only if the text has no words; a reply that is all
    quotation is called new. A signature after the usual "-- " line goes with the second part.
    """
    lines = text.splitlines(keepends=True)
    tail = _start_of_quoted_tail(lines)
    cut = _first_cut(lines, tail)
    while cut and not lines[cut - 1].strip():
        cut -= 1
    if not any(line.strip() for line in lines[:cut]):
        return text, ""
    return "".join(lines[:cut]), "".join(lines[cut:])


def _first_cut(lines: list[str], tail: int) -> int:
    """Where the quotation starts: at its heading, unless the writer goes on below the quoted lines."""
    answered_below = _last_answer(lines, tail)
    for number in range(tail):
        if _quotation_starts(lines, number):
            is_answered = _is_quoted_next(lines, number) and number < answered_below
            if not is_answered:
                return number
    return tail


def _last_answer(lines: list[str], tail: int) -> int:
    """The last line of the writer's own below quoted ones; -1 if there is none, or a signature ends it."""
    was_quoted, last = False, -1
    for number in range(tail):
        line = lines[number]
        if line.startswith(">"):
            was_quoted = True
        elif was_quoted and line.strip():
            if _quotation_starts(lines, number):
                return last
            last = number
    return last


def _is_quoted_next(lines: list[str], number: int) -> bool:
    """Whether marked lines follow within an attribution's reach."""
    following = [line for line in lines[number : number + _ATTRIBUTION_LINES + 2] if line.strip()]
    return any(line.startswith(">") for line in following)


def _start_of_quoted_tail(lines: list[str]) -> int:
    # Whoever answers between the quoted lines has new words after them: only quotes at the very end are cut.
    end = len(lines)
    while end and (lines[end - 1].lstrip().startswith(">") or not lines[end - 1].strip()):
        end -= 1
    return end


def _quotation_starts(lines: list[str], number: int) -> bool:
    line = lines[number]
    return (
        bool(_DIVIDER.match(line) or _SIGNATURE.match(line))
        or _is_attribution(lines, number)
        or _is_header_block(lines, number)
    )


def _is_attribution(lines: list[str], number: int) -> bool:
    if not _ATTRIBUTION_START.match(lines[number]):
        return False
    for end in range(number + 1, min(number + _ATTRIBUTION_LINES, len(lines)) + 1):
        folded = " ".join(line.strip() for line in lines[number:end])
        if len(folded) > _LONGEST_ATTRIBUTION:
            return False
        if _ATTRIBUTION.match(folded):
            return True
    return False


def _is_header_block(lines: list[str], number: int) -> bool:
    following = lines[number + 1 : number + 4]
    return (
        bool(_HEADER_FROM.match(lines[number]))
        and sum(bool(_HEADER_NEXT.match(line)) for line in following) >= 2
    )
