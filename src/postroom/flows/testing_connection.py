"""A connection test: an administrator asks whether a server would take our mail, step by step.

It goes as far as RCPT TO and never sends anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from postroom.flows.probe_words import words_and_remedy
from postroom.outgoing import origin, relays
from postroom.outgoing.models import MailServer
from postroom.smtp.probe import PROBE_TIMEOUTS, Probed, probe
from postroom.smtp.relay import Relay, Timeouts
from postroom.wire.from_filter import FromFilter
from postroom.workspaces.models import Member
from postroom.workspaces.refusals import RequestRefused
from postroom.workspaces.sealed import SealBroken

TEST_LOCAL_PART = "noreply"
StepKey = Literal["settings", "dns", "connect", "greeting", "tls", "auth", "mail", "rcpt", "api"]
StepState = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a test, in the order in which they are taken.

    `said` is one line of at most 200 characters of what the server or the system said; `words` and `remedy`
    are for a person, in their language (`remedy` is empty where there is nothing to do). The key "settings"
    means that nothing could be tried with these settings, "api" that the server is no mail server.
    """

    key: StepKey
    state: StepState
    said: str
    words: str
    remedy: str
    seconds: float


def test_connection(
    server: MailServer,
    *,
    by: Member | None,
    timeouts: Timeouts = PROBE_TIMEOUTS,  # noqa: PT028 — it is no test of pytest's
) -> list[Step]:
    """Try a server as sending would reach it; nothing is sent and nothing is stored.

    `by` is who asks (None: the command line). A test shows what answers at a host, so only administrators of
    the server's workspace may ask, and for the shared relay only operators; else raises RequestRefused. All
    that can go wrong with the server itself is a step. Opens a socket: call it outside a transaction.
    """
    _refuse_unless_allowed(server, by)
    if server.transport == MailServer.Transport.ESP:
        return [_untestable()]
    try:
        relay = relays.relay_of(server)
    except SealBroken:
        return [_unsettled(_("The stored password cannot be opened any more."), _("Enter it anew."))]
    except ValueError as error:
        return [_unsettled(_("These settings cannot be used."), str(error))]
    if relay is None:
        return [_unsettled(_("No relay is set."), _("Set RELAY_URL, or add a server of your own."))]
    return _tried(relay, *_paths(server, by), timeouts)


test_connection.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for one of its own


def verdict(steps: Sequence[Step]) -> str:
    """What the test says as a whole, and what it cannot say."""
    if any(step.state == "failed" for step in steps):
        return _("The test failed. Nothing was sent.")
    if all(step.state == "skipped" for step in steps):
        return _("Nothing was tested.")
    return _(
        "The server would take our mail; nothing was sent. This does not prove that mail arrives: servers "
        "after it may still refuse it, return it or call it spam. Send yourself a message to see."
    )


def is_good(steps: Sequence[Step]) -> bool:
    """Did it go as far as the server taking a recipient?"""
    return bool(steps) and steps[-1].state in ("ok", "warning")


def _refuse_unless_allowed(server: MailServer, by: Member | None) -> None:
    if by is None:
        return
    if server.is_shared and not by.is_operator:
        raise RequestRefused(_("Only an operator may test the shared relay. Ask an operator."))
    may_test = by.is_admin or (server.owner_id is not None and server.owner_id == by.pk)
    if not may_test or server.workspace_id not in (None, by.workspace_id):
        raise RequestRefused(_("Only an administrator of the workspace may do this."))


def _tried(relay: Relay, reverse_path: str, forward_path: str, timeouts: Timeouts) -> list[Step]:
    found = asyncio.run(
        probe(
            relay,
            reverse_path=reverse_path,
            forward_path=forward_path,
            now=timezone.now(),
            timeouts=timeouts,
        )
    )
    return [_step(each, *words_and_remedy(each, relay, reverse_path, forward_path)) for each in found]


def _step(found: Probed, words: str, remedy: str) -> Step:
    return Step(found.step.value, found.state.value, found.said, words, remedy, round(found.seconds, 3))


def _unsettled(words: str, remedy: str) -> Step:
    return Step("settings", "failed", "", words, remedy, 0.0)


def _untestable() -> Step:
    return Step(
        "api",
        "skipped",
        "",
        _("This provider takes mail through its own API and cannot be tested without sending."),
        _("Send a message to a mailbox of yours and look at its trail."),
        0.0,
    )


def _paths(server: MailServer, by: Member | None) -> tuple[str, str]:
    """From where and to whom the test pretends to send; nobody needs to read mail there."""
    workspace = server.workspace or (by.workspace if by else None)
    if workspace is None:
        domain, bounce = settings.POSTROOM_MAIL_DOMAIN, f"bounce@{settings.POSTROOM_MAIL_DOMAIN}"
    else:
        default = origin.default_domain(workspace)
        domain, bounce = default.domain, f"{default.bounce_local_part}@{default.domain}"
    return _named_by(relays.filter_of(server)) or bounce, f"{TEST_LOCAL_PART}@{domain}"


def _named_by(named: FromFilter) -> str:
    """An address that the filter names, else one on a domain it names; "" if it names nothing."""
    domains = (f"{TEST_LOCAL_PART}@{domain}" for domain in sorted(named.domains))
    return next(iter([*sorted(named.addresses), *domains]), "")
