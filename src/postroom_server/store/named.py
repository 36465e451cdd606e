"""The files of the storage that rows name: attachments, received mails, files of what is said later."""

from __future__ import annotations

from collections.abc import Iterator

from postroom.conversations.models import Attachment, ScheduledMessage
from postroom.incoming.models import SpooledMail
from postroom_server.store.databases import Database
from postroom_server.store.tables import Table


def named_files(database: Database, workspace_id: int | None = None) -> Iterator[str]:
    """The names of all files that a row names, each once; or only those of one workspace."""
    of = f"workspace_id = {workspace_id:d}" if workspace_id is not None else "1 = 1"
    later = _named_by_scheduled(database, of)
    for row in _pairs(database, Attachment._meta.db_table, of):
        name = Attachment(workspace_id=row[0], digest=row[1]).storage_name
        later.discard(name)
        yield name
    for row in _pairs(database, SpooledMail._meta.db_table, f"{of} AND octets IS NULL"):
        yield SpooledMail(workspace_id=row[0], digest=row[1]).storage_name
    yield from sorted(later)


def _pairs(database: Database, table: str, where: str) -> Iterator[tuple[int, str]]:
    query = f'SELECT DISTINCT workspace_id, digest FROM "{table}" WHERE {where} ORDER BY 1, 2'
    return ((int(workspace_id), str(digest)) for workspace_id, digest in database.ask(query))


def _named_by_scheduled(database: Database, where: str) -> set[str]:
    table = Table.of_model(ScheduledMessage)
    workspace, files = table.at("workspace_id"), table.at("files")
    return {
        Attachment(workspace_id=row[workspace], digest=str(file["digest"])).storage_name
        for row in database.rows(table, where)
        for file in row[files]
    }
