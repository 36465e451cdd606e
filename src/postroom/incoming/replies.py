"""What senders are told at the door. In English: servers and logs read it before people do."""

from __future__ import annotations

import unicodedata

from postroom.wire.reply import EnhancedStatus, Reply


def answer(code: int, enhanced: str, text: str) -> Reply:
    """A reply of ours."""
    return Reply(code, EnhancedStatus.parse(enhanced), text)


SENDER_OK = answer(250, "2.1.0", "Ok")
KNOWN = answer(250, "2.1.5", "Ok")
PROVISIONAL = answer(250, "2.1.5", "Ok, if it answers a mail of ours")
TAKEN = answer(250, "2.0.0", "Ok, it is ours now")
ALREADY_TAKEN = answer(250, "2.0.0", "Ok, already received")
REPORT_TAKEN = answer(250, "2.0.0", "Ok, delivery report read")
REPORT_UNMATCHED = answer(250, "2.0.0", "Ok, delivery report kept, it fits no mail of ours")
NOT_AN_ADDRESS = answer(501, "5.1.3", "This is not an address that can be written to")
NOT_OURS = answer(550, "5.7.1", "This domain is not served here, and we do not relay")
ALONE = answer(452, "4.5.3", "Send the mail for this recipient in a transaction of its own")
NO_SUCH_ADDRESS = answer(550, "5.1.1", "There is no such address here")
TOO_MANY_MISSES = answer(550, "5.1.1", "There is no such address here, and there were too many like it")
ONLY_REPLIES = answer(550, "5.1.1", "This address only collects replies; write to the address you know us by")
ONLY_REPORTS = answer(550, "5.1.1", "This address only takes delivery reports")
NO_AUTOMATIC = answer(550, "5.7.1", "Automatic mail does not open anything at this address")
TOO_MANY_HOPS = answer(550, "5.4.6", "Too many hops, this mail goes round in a circle")
CAME_BACK = answer(554, "5.4.6", "Our own mail came back")
TOO_MANY_OPENINGS = answer(451, "4.7.0", "Too many new mails from this sender, try again later")
TROUBLE = answer(451, "4.3.0", "Trouble on our side, try again later")
_NOT_ALLOWED = {
    "partners": "Only known contacts may write to this address",
    "followers": "Only followers may write to this address",
    "members": "Only members may write to this address",
}


def not_allowed(policy: str, bounced_text: str) -> Reply:
    """The refusal of an alias' policy, in the alias' own words if it has some."""
    words = " ".join(_ascii(bounced_text).split())[:400]
    return answer(550, "5.7.1", words or _NOT_ALLOWED.get(policy, "This address does not take your mail"))


def _ascii(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")
