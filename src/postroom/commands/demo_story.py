"""The demo workspace: a small company, told once through the same flows that everybody uses."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING

from postroom.commands.calling import line_for
from postroom.commands.demo_words import INCOMING, MIHAI, SCENES, Line, Scene

if TYPE_CHECKING:
    from postroom.conversations.models import Contact, Record
    from postroom.workspaces.models import Member, Workspace
    from postroom_server.config import Config

SLUG = "demo"
OPERATOR = "olga@demo.example"
SELLER = "ana@demo.example"
LOGIN_FILE = "demo-login"
LONGEST_WAIT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Story:
    """Where to begin: the record with the red envelope, and the login."""

    record_pk: int
    message_pk: int
    email_pk: int
    address: str
    password: str


def tell_once(folder: Path) -> Story:
    """Make the demo workspace if there is none, and say where to begin. `folder` is the data folder."""
    from postroom.outgoing.models import Email
    from postroom.workspaces.models import Workspace

    if not Workspace.objects.filter(slug=SLUG).exists():
        _tell(folder)
    workspace = Workspace.objects.get(slug=SLUG)
    # The message, not the address: somebody may have corrected that already.
    emails = Email.objects.filter(workspace=workspace, message__record__external_id="SO042").order_by("pk")
    red = emails.filter(contact__name=MIHAI[0]).first() or emails[0]
    address, _, password = (folder / LOGIN_FILE).read_text("utf-8").partition("\n")
    return Story(red.message.record_id or 0, red.message_id, red.pk, address, password.strip())


async def wait_for_red_envelope(story: Story) -> None:
    """Come back when the first message has been tried at every recipient, or after 15 seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LONGEST_WAIT_SECONDS
    while loop.time() < deadline and await asyncio.to_thread(_is_waiting, story.message_pk):
        await asyncio.sleep(0.1)


def what_to_try(story: Story, config: Config) -> list[str]:
    """What is said when everything runs."""
    sales = f"sales@{SLUG}.{config['POSTROOM_MAIL_DOMAIN']}"
    return [
        "",
        f"The red envelope:  {config.base_url}/records/{story.record_pk}",
        f"Log in as {story.address} with the password {story.password}",
        "",
        "Three things to try:",
        "  1. Click the red envelope, correct the address, and choose Send & close.",
        "  2. Write as a customer (a new record appears):",
        f"     printf 'From: carla@example.com\\nSubject: A question\\n\\nDo you deliver to Cluj?\\n' | "
        f"curl -sS --crlf smtp://{config['POSTROOM_SMTP']} --mail-from carla@example.com "
        f"--mail-rcpt {sales} -T -",
        "  3. Ask why:",
        f"     {line_for('queue list --state failed')}",
        f"     {line_for(f'explain em_{story.email_pk}')}",
        "",
        f"Nothing leaves this machine: a built-in target takes all mail ({config.base_url}/target).",
    ]


def _is_waiting(message_pk: int) -> bool:
    from django.db import close_old_connections

    from postroom.outgoing.models import Tally

    try:
        tally = Tally.objects.filter(message_id=message_pk).first()
        return tally is not None and tally.outgoing_count > 0 and not tally.is_red
    finally:
        close_old_connections()


def _tell(folder: Path) -> None:
    from django.db import transaction

    from postroom.flows import founding

    with transaction.atomic():
        founded = founding.found_workspace(
            name="Casa Verde", slug=SLUG, admin_address=OPERATOR, admin_name="Olga Ionescu"
        )
        olga = founding.change_preferences(founded.member, channel="postroom", is_developer=True)
        founding.invite(olga, address=SELLER, name="Ana Pop")
        _open_alias(founded.workspace, "sales", "crm.lead", by=olga)
        _open_alias(founded.workspace, "support", "helpdesk.ticket", by=olga)
        for scene in SCENES:
            _play(founded.workspace, scene)
        _write_login(folder, founded.password or "")
    _receive_letter(founded.workspace)


def _open_alias(workspace: Workspace, local_part: str, model: str, *, by: Member) -> None:
    from postroom.conversations.models import Alias
    from postroom.flows import arranging

    domain = workspace.mail_domains.get(is_default=True)
    arranging.put_alias(
        Alias(workspace=workspace, mail_domain=domain, local_part=local_part, model=model), by=by
    )


def _play(workspace: Workspace, scene: Scene) -> None:
    from postroom.flows import recording

    people = [recording.contact_for(workspace, address, name) for name, address in scene.followers]
    responsible = _member(workspace, scene.responsible)
    record, _ = recording.put_record(
        workspace,
        scene.model,
        scene.external_id,
        title=scene.title,
        url=f"https://erp.demo.example/{scene.model}/{scene.external_id}",
        responsible=responsible,
        followers=people,
        by=responsible,
    )
    for line in scene.lines:
        _say(record, line)


def _say(record: Record, line: Line) -> None:
    from postroom.flows import drafting, posting

    author = _contact(record.workspace, line.author)
    said = drafting.Said(
        subject=line.subject,
        text=line.text,
        is_note=line.is_note,
        author=line.author,
        files=tuple(drafting.File(name, kind, octets) for name, kind, octets in line.files),
    )
    posting.post(drafting.draft(said, record, author.member or _member(record.workspace, SELLER)))


def _member(workspace: Workspace, address: str) -> Member:
    return workspace.members.select_related("contact").get(user__email=address)


def _contact(workspace: Workspace, address: str) -> Contact:
    return workspace.contacts.select_related("member").get(address__addr_spec=address)


def _receive_letter(workspace: Workspace) -> None:
    """A customer writes to support@: received like every other mail."""
    from postroom.flows.receiving import Arrival, receive

    to = f"support@{workspace.subdomain}"
    letter = INCOMING.format(to=to, date=format_datetime(datetime.now(UTC)))
    receive(
        Arrival(
            source="feed",
            peer="127.0.0.1",
            helo="mail.example.com",
            reverse_path="carla@example.com",
            forward_paths=(to,),
            octets=letter.replace("\n", "\r\n").encode(),
        )
    )


def _write_login(folder: Path, password: str) -> None:
    descriptor = os.open(folder / LOGIN_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{OPERATOR}\n{password}\n")
