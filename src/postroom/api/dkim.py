"""/domains: mail domains, what DNS says of them, and the keys that sign their mail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from django.http import HttpRequest, HttpResponse
from ninja import Router

from postroom.api.callers import key_of
from postroom.api.once import once
from postroom.api.paging import DEFAULT_LIMIT, page_of
from postroom.api.problems import Problem, not_found
from postroom.api.records import READ_PROBLEMS, WRITE_PROBLEMS, Limit
from postroom.api.shapes import Asked
from postroom.flows import domain_check, signing_keys
from postroom.flows.domain_shapes import DkimKeyShape, DomainShape, shape_of_dkim_key, shape_of_domain
from postroom.flows.showing import number_in
from postroom.workspaces.models import DkimKey, MailDomain, Member

router = Router(tags=["domains"])


class KeyToMake(Asked):
    """A new key. `rotate`: only as the successor of one that signs."""

    algorithm: Literal["rsa", "ed25519"] = "rsa"
    rotate: bool = False


@dataclass(frozen=True, slots=True)
class DomainPage:
    """Mail domains, newest first; `next_cursor` is None on the last page."""

    data: list[DomainShape]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class DkimKeyList:
    """All keys of a domain, newest first."""

    data: list[DkimKeyShape]


@router.get("", response={200: DomainPage, **READ_PROBLEMS})
def list_domains(request: HttpRequest, cursor: str = "", limit: Limit = DEFAULT_LIMIT) -> DomainPage:
    """The mail domains of the workspace. Only for keys that act as an administrator, like all of these."""
    domains = MailDomain.objects.filter(workspace=_admin_of(request).workspace)
    rows, next_cursor = page_of(domains, cursor, limit)
    return DomainPage([shape_of_domain(row) for row in rows], next_cursor)


@router.get("/{domain_id}", response={200: DomainShape, **READ_PROBLEMS})
def get_domain(request: HttpRequest, domain_id: str) -> DomainShape:
    """One mail domain (dom_…) with its keys and what DNS said when it was last asked."""
    return shape_of_domain(_domain(_admin_of(request), domain_id))


@router.post("/{domain_id}/check", response={200: DomainShape, **READ_PROBLEMS})
def check_domain(request: HttpRequest, domain_id: str) -> DomainShape:
    """Ask DNS now. May take some seconds; DNS that does not answer makes findings `unknown`."""
    domain = _domain(_admin_of(request), domain_id)
    domain_check.check(domain)
    return shape_of_domain(domain)


@router.get("/{domain_id}/keys", response={200: DkimKeyList, **READ_PROBLEMS})
def list_dkim_keys(request: HttpRequest, domain_id: str) -> DkimKeyList:
    """The DKIM keys of a domain with the records that publish them."""
    return DkimKeyList(shape_of_domain(_domain(_admin_of(request), domain_id)).keys)


@router.post("/{domain_id}/keys", response={201: DkimKeyShape, **WRITE_PROBLEMS})
def make_dkim_key(request: HttpRequest, domain_id: str, payload: KeyToMake) -> HttpResponse:
    """Make a key. It signs once its record is published and it is activated."""
    by = _admin_of(request)
    domain = _domain(by, domain_id)
    make = signing_keys.rotate if payload.rotate else signing_keys.make
    return once(
        request,
        201,
        DkimKeyShape,
        lambda: shape_of_dkim_key(make(domain, payload.algorithm, by=by), domain),
    )


@router.post("/{domain_id}/keys/{key_id}/activate", response={200: DkimKeyShape, **READ_PROBLEMS})
def activate_dkim_key(request: HttpRequest, domain_id: str, key_id: str) -> DkimKeyShape:
    """Let a key (dkim_…) sign, if DNS has its record; `detail` says what was found instead.

    The key of the same algorithm that signed so far is retiring: leave its record until `retires_at`.
    """
    by = _admin_of(request)
    domain = _domain(by, domain_id)
    key = signing_keys.activate(_key(domain, key_id), by=by)
    domain_check.check(domain)
    return shape_of_dkim_key(key, domain)


@router.post("/{domain_id}/keys/{key_id}/revoke", response={200: DkimKeyShape, **READ_PROBLEMS})
def revoke_dkim_key(request: HttpRequest, domain_id: str, key_id: str) -> DkimKeyShape:
    """Let a key sign nothing more, at once and for good."""
    by = _admin_of(request)
    domain = _domain(by, domain_id)
    return shape_of_dkim_key(signing_keys.revoke(_key(domain, key_id), by=by), domain)


def _admin_of(request: HttpRequest) -> Member:
    member = key_of(request).member
    if not member.is_admin:
        raise Problem("refused", "Only a key that acts as an administrator may see or change mail domains.")
    return member


def _domain(by: Member, domain_id: str) -> MailDomain:
    rows = MailDomain.objects.filter(workspace=by.workspace).select_related("workspace")
    domain = rows.filter(pk=number_in(domain_id, "dom") or 0).first()
    if domain is None:
        raise not_found()
    return domain


def _key(domain: MailDomain, key_id: str) -> DkimKey:
    key = signing_keys.keys_of(domain).filter(pk=number_in(key_id, "dkim") or 0).first()
    if key is None:
        raise not_found()
    return key
