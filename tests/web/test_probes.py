"""livez and readyz."""

from datetime import timedelta

from django.test import Client
from django.utils import timezone

from postroom.workspaces import installation
from postroom.workspaces.models import Installation


def test_alive_means_that_it_answers(client: Client) -> None:
    """Without a database."""
    assert client.get("/livez").json() == {"status": "ok"}


def test_ready_means_database_tables_and_engine(db: None, client: Client) -> None:
    """A process that has no engine is ready without."""
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["checks"] == {"database": True, "migrations": True, "engine": True}


def test_a_silent_engine_is_not_ready(db: None, client: Client) -> None:
    """It beat once and then no more."""
    installation.recognise()
    Installation.objects.update(engine_seen_at=timezone.now() - timedelta(minutes=4))
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["engine"]) == (503, False)
