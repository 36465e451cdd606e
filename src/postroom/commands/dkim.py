"""`postroom dkim …`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from postroom.commands.output import AsJson, InWorkspace, print_json, print_list, print_one, print_words

if TYPE_CHECKING:
    from postroom.flows.domain_shapes import DkimKeyShape, DomainShape
    from postroom.workspaces.models import DkimKey, MailDomain, Member

app = typer.Typer(help="DKIM: keys that sign the mail of a domain, and what DNS says.", no_args_is_help=True)
Domain = Annotated[
    str, typer.Option("--domain", metavar="DOMAIN", help="Which mail domain; left out: the default one.")
]
Algorithm = Annotated[str, typer.Option(help="rsa or ed25519.")]
Key = Annotated[str, typer.Argument(metavar="KEY", help="An id such as dkim_3, or the key's selector.")]


@app.command("list", epilog="Example: postroom dkim list --json")
def list_keys(domain: Domain = "", workspace: InWorkspace = "", as_json: AsJson = False) -> None:
    """List the keys of a domain, and what each of them needs next."""
    _, here = _opened(domain, workspace)
    from postroom.flows.domain_shapes import shape_of_domain

    columns = ("id", "selector", "algorithm", "state", "dns", "retires_at", "what")
    print_list(shape_of_domain(here).keys, columns, as_json=as_json, words=lambda key: key.meaning)


@app.command("make", epilog="Example: postroom dkim make --domain casa.example --algorithm rsa")
def make(
    domain: Domain = "", algorithm: Algorithm = "rsa", workspace: InWorkspace = "", as_json: AsJson = False
) -> None:
    """Make a key and print the record to publish. It signs once that is done and it is activated."""
    by, here = _opened(domain, workspace)
    from postroom.flows import signing_keys

    _print_made(signing_keys.make(here, algorithm, by=by), here, as_json=as_json)


@app.command("check", epilog="Example: postroom dkim check --domain casa.example")
def check(domain: Domain = "", workspace: InWorkspace = "", as_json: AsJson = False) -> None:
    """Ask DNS for DKIM, SPF, DMARC and MX of a domain. Exits 1 if something is wrong or missing."""
    _, here = _opened(domain, workspace)
    from postroom.flows import domain_check
    from postroom.flows.domain_shapes import shape_of_domain

    domain_check.check(here)
    shape = shape_of_domain(here)
    if as_json:
        print_json(shape)
    else:
        print_words(_findings(shape))
    if any(finding.state in ("wrong", "missing") for finding in shape.findings):
        raise typer.Exit(1)


@app.command("activate", epilog="Example: postroom dkim activate pr202611a --domain casa.example")
def activate(key: Key, domain: Domain = "", workspace: InWorkspace = "", as_json: AsJson = False) -> None:
    """Let a key sign, if DNS has its record; the one that signed so far retires."""
    by, here = _opened(domain, workspace)
    from postroom.flows import signing_keys

    activated = signing_keys.activate(_found(here, key), by=by)
    print_one(_shape(activated, here), f"Mail of {here.domain} is signed with it.", as_json=as_json)


@app.command("rotate", epilog="Example: postroom dkim rotate --domain casa.example --algorithm rsa")
def rotate(
    domain: Domain = "", algorithm: Algorithm = "rsa", workspace: InWorkspace = "", as_json: AsJson = False
) -> None:
    """Make the successor of the key that signs; that one signs until the new one is activated."""
    by, here = _opened(domain, workspace)
    from postroom.flows import signing_keys

    _print_made(signing_keys.rotate(here, algorithm, by=by), here, as_json=as_json)


@app.command("revoke", epilog="Example: postroom dkim revoke pr202611a --domain casa.example")
def revoke(key: Key, domain: Domain = "", workspace: InWorkspace = "", as_json: AsJson = False) -> None:
    """Let a key sign nothing more, at once and for good."""
    by, here = _opened(domain, workspace)
    from postroom.flows import signing_keys

    revoked = signing_keys.revoke(_found(here, key), by=by)
    print_one(_shape(revoked, here), f"{revoked.selector} signs nothing more.", as_json=as_json)


def _opened(name: str, workspace: str) -> tuple[Member, MailDomain]:
    from postroom.commands.failures import Stopped
    from postroom.commands.opening import member_acting, open_installation, workspace_of

    open_installation()
    from postroom.workspaces.models import MailDomain

    here = workspace_of(workspace)
    domains = MailDomain.objects.filter(workspace=here).select_related("workspace")
    domain = (domains.filter(domain=name.lower()) if name else domains.filter(is_default=True)).first()
    if domain is None:
        known = ", ".join(domains.order_by("domain").values_list("domain", flat=True))
        raise Stopped(f"{here} has no mail domain {name or 'as its default'}. Name one of: {known}.")
    return member_acting(here), domain


def _found(domain: MailDomain, text: str) -> DkimKey:
    from django.db.models import Q

    from postroom.commands.failures import Stopped
    from postroom.flows import signing_keys
    from postroom.flows.showing import number_in

    wanted = Q(selector=text) | Q(pk=number_in(text, "dkim") or 0)
    key = signing_keys.keys_of(domain).filter(wanted).first()
    if key is None:
        raise Stopped(f"{domain} has no key {text}. See `postroom dkim list --domain {domain}`.")
    return key


def _shape(key: DkimKey, domain: MailDomain) -> DkimKeyShape:
    from postroom.flows.domain_shapes import shape_of_dkim_key

    return shape_of_dkim_key(key, domain)


def _print_made(key: DkimKey, domain: MailDomain, *, as_json: bool) -> None:
    shape = _shape(key, domain)
    activate = f"postroom dkim activate {key.selector} --domain {domain.domain}"
    lines = [
        "Publish this record, then run:",
        f"  {activate}",
        "",
        f"{shape.record_name}. IN TXT ( {shape.record_zone} )",
    ]
    print_one(shape, "\n".join(lines), as_json=as_json)


def _findings(shape: DomainShape) -> str:
    lines = []
    for finding in shape.findings:
        lines.append(f"{finding.check.upper():6} {finding.state:10} {finding.meaning}")
        if finding.state in ("wrong", "missing") and finding.check != "dkim":
            lines.append(f"{'':6} {'':10} {finding.name}: {finding.wanted}")
    return "\n".join(lines)
