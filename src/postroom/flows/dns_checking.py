"""The DNS check: looks every hour whether what DNS says of the mail domains is still right."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import timedelta

from django.db import transaction
from django.db.models import Q

from postroom.flows import domain_check, signing_keys
from postroom.flows.domain_check import KNOWN, Finding, Findings, Resolver
from postroom.flows.notices import tell_admins
from postroom.schedule.work import Run
from postroom.workspaces.models import MailDomain

log = logging.getLogger("postroom.dns")
RECENT = timedelta(minutes=55)
WORSE_NOTICE = "dns_worse"
CHECKED, WORSE = "domains checked", "domains that were right and no longer are"
CHECKS = ("dkim", "spf", "dmarc", "mx")


def check_domains(run: Run, resolver: Resolver | None = None) -> Iterator[Mapping[str, int]]:
    """Check each mail domain of the run's workspace that was not looked at within the hour.

    One that was looked at in the future, by a clock that was ahead, is looked at now.
    Something that was right and no longer is, is told to the administrators, once; and again only after it
    was right in between. Where DNS did not answer nothing is concluded: what was known before stays known.
    Keys whose overlap is over retire first, so that they are not looked for.
    """
    signing_keys.retire_due(run.now)
    recent = Q(dns_checked_at__gt=run.now - RECENT, dns_checked_at__lt=run.now + RECENT)
    due = MailDomain.objects.filter(workspace=run.workspace).exclude(recent)
    for domain_id in list(due.order_by("pk").values_list("pk", flat=True)):
        domain = MailDomain.objects.select_related("workspace").filter(pk=domain_id).first()
        if domain is not None:  # somebody may have removed it since
            is_worse = _check(domain, resolver)
            yield {CHECKED: 1, WORSE: 1} if is_worse else {CHECKED: 1}


def _check(domain: MailDomain, resolver: Resolver | None) -> bool:
    before = _known(domain)
    findings = domain_check.check(domain, resolver)
    after = {name: _finding(findings, name) for name in CHECKS}
    worse = [finding for name, finding in after.items() if before.get(name) and finding.is_ok is False]
    is_ok = {name: finding.is_ok for name, finding in after.items() if finding.is_ok is not None}
    with transaction.atomic():
        domain.dns_findings[KNOWN] = before | is_ok
        domain.save(update_fields=["dns_findings"])
        if worse:
            tell_admins(domain.workspace, WORSE_NOTICE)
    for finding in worse:
        log.warning(
            "DNS of %s: %s says %r, and no longer what it should", domain, finding.name, finding.found
        )
    return bool(worse)


def _known(domain: MailDomain) -> dict[str, bool]:
    """What was last known of each check; before the first run, what somebody found who looked by hand."""
    if KNOWN in domain.dns_findings:
        return dict(domain.dns_findings[KNOWN])
    found = {name: (domain.dns_findings.get(name) or {}).get("is_ok") for name in CHECKS}
    return {name: is_ok for name, is_ok in found.items() if is_ok is not None}


def _finding(findings: Findings, name: str) -> Finding:
    finding: Finding = getattr(findings, name)
    return finding
