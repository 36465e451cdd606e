"""One of the peers drains its own queue into a sink and prints mails a second.

usage: python -m bench.peers post_office|mailer PORT COUNT
PEER_DATABASE is a PostgreSQL URL, empty for SQLite.

With the settings that suit this machine best (post_office: 5 threads, everything in one run), and with their
logs on, because ours are. The mails are the 5 KB of our own bench: text and HTML.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import stage


def main(name: str, port: int, count: int) -> None:
    """Fill, drain, print."""
    with tempfile.TemporaryDirectory(prefix="postroom-bench-peer-") as folder:
        _set_up(Path(folder), port)
        fill, drain = _CONTENDERS[name]
        fill(50)
        drain()
        fill(count)
        began = time.perf_counter()
        sent = drain()
        seconds = time.perf_counter() - began
        assert sent == count, f"{name} sent {sent} of {count}"
        print(count / seconds)


def _set_up(folder: Path, port: int) -> None:
    import dj_database_url
    import django
    from django.conf import settings

    os.chdir(folder)  # django-mailer puts its lock file here
    url = os.environ.get("PEER_DATABASE", "")
    smtp = "django.core.mail.backends.smtp.EmailBackend"
    settings.configure(
        SECRET_KEY="bench",
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "post_office", "mailer"],
        DATABASES={"default": dj_database_url.parse(_fresh(url)) if url else _sqlite(folder)},
        EMAIL_BACKEND=smtp,
        EMAIL_HOST="127.0.0.1",
        EMAIL_PORT=port,
        MAILER_EMAIL_BACKEND=smtp,
        MAILER_EMAIL_THROTTLE=0,
        MAILER_EMAIL_MAX_BATCH=None,
        POST_OFFICE={
            "BACKENDS": {"default": smtp},
            "LOG_LEVEL": 2,
            "BATCH_SIZE": 10_000,
            "THREADS_PER_PROCESS": 5,
            "CELERY_ENABLED": False,
        },
        CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
        LOGGING_CONFIG=None,
    )
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def _fresh(url: str) -> str:
    """An empty database of our own on the same server."""
    import psycopg

    name = f"peer_{os.getpid()}"
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}".encode())
    head, _, options = url.partition("?")
    return f"{head.rpartition('/')[0]}/{name}" + (f"?{options}" if options else "")


def _sqlite(folder: Path) -> dict[str, Any]:
    pragmas = "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL"
    options = {"transaction_mode": "IMMEDIATE", "timeout": 30, "init_command": pragmas}
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(folder / "peer.sqlite3"),
        "OPTIONS": options,
    }


def _bodies(number: int) -> tuple[str, str]:
    """Text and HTML of together as many octets as our own bench sends."""
    line = f"Letter {number} says what letters say, in seventy characters or thereabouts."
    lines = [line] * (stage.LENGTH // 2 // len(line))
    return "\n".join(lines), "<p>" + "</p>\n<p>".join(lines[:-6]) + "</p>"


def _fill_post_office(count: int) -> None:
    from post_office import mail

    mail.send_many(
        [
            {
                "sender": "ana@demo.example",
                "recipients": [f"person{number}@rcpt.example"],
                "subject": f"Letter {number}",
                "message": text,
                "html_message": html,
            }
            for number, (text, html) in enumerate(map(_bodies, range(count)))
        ]
    )


def _drain_post_office() -> int:
    from post_office.mail import get_queued, send_queued
    from post_office.models import STATUS, Email

    before = Email.objects.filter(status=STATUS.sent).count()
    while get_queued():
        send_queued(processes=1, log_level=2)
    sent: int = Email.objects.filter(status=STATUS.sent).count() - before
    return sent


def _fill_mailer(count: int) -> None:
    from mailer import send_html_mail

    for number, (text, html) in enumerate(map(_bodies, range(count))):
        to = [f"person{number}@rcpt.example"]
        send_html_mail(f"Letter {number}", text, html, "ana@demo.example", to)


def _drain_mailer() -> int:
    from mailer.engine import send_all
    from mailer.models import MessageLog

    before = MessageLog.objects.count()
    send_all()
    sent: int = MessageLog.objects.count() - before
    return sent


_CONTENDERS = {
    "post_office": (_fill_post_office, _drain_post_office),
    "mailer": (_fill_mailer, _drain_mailer),
}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
