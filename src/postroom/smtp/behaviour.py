"""What the built-in target does with a mail, read from the recipient's local part."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from postroom.smtp.commands import reply
from postroom.wire.reply import EnhancedStatus, Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """One way to treat a mail. The default takes it.

    `refusal` answers RCPT: always, or with `refusals` above 0 so many times per sender's domain.
    `slow_seconds` delays the answer to the final dot. `late_status` is that of the report sent afterwards.
    """

    refusal: Reply | None = None
    refusals: int = 0
    slow_seconds: float = 0.0
    drops_before_data: bool = False
    drops_after_data: bool = False
    late_status: EnhancedStatus | None = None
    replies_by_itself: bool = False


TAKES = Behaviour()
NO_USER = EnhancedStatus(5, 1, 1)
GREYLISTED = reply(450, "4.7.1", "Greylisted, come back later")
FULL = Behaviour(refusal=reply(452, "4.2.2", "The mailbox is full"))
BUSY = Behaviour(refusal=reply(421, "4.3.2", "Too busy, closing"))


def _bounce(status: str) -> Behaviour:
    code = 550 if status.startswith("5") else 450
    return Behaviour(refusal=reply(code, status, "Refused, as the address asks for"))


KINDS: tuple[tuple[str, Callable[[str], Behaviour]], ...] = (
    (r"bounce-([45]\.\d{1,3}\.\d{1,3})", _bounce),
    (r"greylist-([1-9]\d{0,2})", lambda count: Behaviour(refusal=GREYLISTED, refusals=int(count))),
    (r"slow-(\d{1,4})s", lambda seconds: Behaviour(slow_seconds=float(seconds))),
    (r"drop-before-data()", lambda _: Behaviour(drops_before_data=True)),
    (r"drop-after-data()", lambda _: Behaviour(drops_after_data=True)),
    (r"full()", lambda _: FULL),
    (r"busy()", lambda _: BUSY),
    (r"late-bounce()", lambda _: Behaviour(late_status=NO_USER)),
    (
        r"late-bounce-(5\.\d{1,3}\.\d{1,3})",
        lambda status: Behaviour(late_status=EnhancedStatus.parse(status)),
    ),
    (r"auto-reply()", lambda _: Behaviour(replies_by_itself=True)),
)


def behaviour_for(forward_path: str) -> Behaviour:
    """Return what an address asks for, by what stands before its first "@", in any case, without +tag."""
    name = forward_path.partition("@")[0].partition("+")[0].lower()
    for pattern, kind in KINDS:
        match = re.fullmatch(pattern, name, re.ASCII)
        if match is not None:
            return kind(match[1])
    return TAKES
