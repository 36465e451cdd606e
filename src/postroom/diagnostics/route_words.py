"""Why a mail went over this server, with this From and this return path: in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from postroom.outgoing.choosing import Rule, Why

Words = str | Promise

CHOSEN: dict[str, Words] = {
    Rule.FIXED: gettext_lazy("It was named for this message."),
    Rule.SECRET: gettext_lazy(
        "The mail opens a login, so it leaves over the relay of the whole installation and no other server."
    ),
    Rule.CAMPAIGNS: gettext_lazy("It is the server for campaigns."),
    Rule.PERSONAL: gettext_lazy("It is the author's personal server, and lets them send as %(wanted)s."),
    Rule.FROM_ADDRESS: gettext_lazy("Its FROM Filtering names %(effective)s."),
    Rule.FROM_DOMAIN: gettext_lazy("Its FROM Filtering names the domain of %(effective)s."),
    Rule.NOTIFICATION_ADDRESS: gettext_lazy("Its FROM Filtering names the default From %(from)s."),
    Rule.NOTIFICATION_DOMAIN: gettext_lazy(
        "Its FROM Filtering names the domain of the default From %(from)s."
    ),
    Rule.UNFILTERED: gettext_lazy("No FROM Filtering names %(wanted)s; it is the first server without one."),
    Rule.SHARED: gettext_lazy("No server of this workspace fits; it is the relay of the whole installation."),
    Rule.FIRST: gettext_lazy("No server lets this workspace send from here; it is the first one at all."),
}
WHY: dict[str, Words] = {
    Why.OVERRIDDEN: gettext_lazy(
        "From was changed from %(wanted)s to %(from)s, because every mail of this workspace goes out "
        "from that address."
    ),
    Why.NOT_ASCII: gettext_lazy(
        "From was changed from %(wanted)s to %(from)s, because most mail servers know no such letters in an "
        "address."
    ),
    Why.ANOTHERS: gettext_lazy(
        "From was changed from %(wanted)s to %(from)s, because that address is another member's or another "
        "workspace's, in whose name this mail may not be sent."
    ),
    Why.FILTERED: gettext_lazy(
        "From was changed from %(wanted)s to %(from)s, because the server's FROM Filtering does not name the "
        "author's address or its domain."
    ),
    Why.NOT_OURS: gettext_lazy(
        "From was changed from %(wanted)s to %(from)s, because the author's domain is not a mail domain of "
        "this workspace: receivers would take the mail for forged (SPF, DKIM, DMARC)."
    ),
}
KEPT = gettext_lazy("From is %(from)s, as wanted.")
SIGNED = gettext_lazy("The return path is a signed address at %(domain)s: bounces come back to Postroom.")
PLAIN = gettext_lazy(
    "The return path is %(from)s, because the server does not accept a return path of ours: bounces go to "
    "that mailbox, and Postroom does not learn of them."
)
WARNING = gettext_lazy(
    "Careful: the server's FROM Filtering does not name this From, so it may refuse the mail. Add it there, "
    "or add a server for it."
)


def of_route(detail: Mapping[str, Any]) -> tuple[str, str]:
    """What was decided and why, from the detail of an Event `route.chosen`."""
    wanted, used = str(detail.get("wanted_from", "")), str(detail.get("from", ""))
    why = str(detail.get("why", ""))
    words = {
        "wanted": wanted,
        "from": used,
        "effective": used if why == Why.OVERRIDDEN else wanted,
        "domain": detail.get("return_domain", ""),
    }
    sentences = [
        CHOSEN.get(str(detail.get("rule", "")), ""),
        WHY.get(why, KEPT),
        SIGNED if detail.get("return_path") == "signed" else PLAIN,
        WARNING if detail.get("is_warning") else "",
    ]
    what = _("Goes out over the server %(server)s") % {"server": detail.get("server", "")}
    return what, " ".join(str(sentence) % words for sentence in sentences if sentence)
