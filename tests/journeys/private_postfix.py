"""A Postfix of one's own: a configuration in a private folder, on loopback ports, ended by its id."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.journeys.servers import eventually, free_address
from tests.smtp.authority import Authority

MASTER = next(
    (
        path
        for path in ("/usr/lib/postfix/sbin/master", "/usr/libexec/postfix/master")
        if os.path.exists(path)
    ),
    None,
)
POSTFIX = shutil.which("postfix") or shutil.which("postfix", path="/usr/sbin")
SERVICES = """\
{plain} inet n - n - - smtpd
{tls} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes -o smtpd_tls_security_level=encrypt
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
proxymap unix - - n - - proxymap
discard unix - - n - - discard
error unix - - n - - error
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True)
class PrivatePostfix:
    """Where it listens: without TLS or with STARTTLS, and with TLS from the start."""

    plain_port: int
    tls_port: int
    log: Path


@contextmanager
def private_postfix(authority: Authority, **settings: str) -> Iterator[PrivatePostfix]:
    """Start Postfix with a certificate of this authority; what it takes for example.org it throws away."""
    folder = Path(tempfile.mkdtemp(prefix="postroom-postfix-"))
    folder.chmod(0o755)  # its processes run as the user postfix
    run: subprocess.Popen[bytes] | None = None
    try:
        plain, tls = free_address(), free_address()
        _write(folder, authority, settings, SERVICES.format(plain=plain, tls=tls))
        checked = subprocess.run(
            [str(POSTFIX), "-c", folder / "etc", "check"], capture_output=True, text=True
        )
        assert checked.returncode == 0, checked.stderr
        run = subprocess.Popen(
            [str(MASTER), "-c", folder / "etc", "-d"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        eventually(lambda: _are_open(plain, tls))
        yield PrivatePostfix(_port(plain), _port(tls), folder / "log")
    finally:
        if run is not None:
            run.terminate()
            run.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


def _write(folder: Path, authority: Authority, settings: Mapping[str, str], services: str) -> None:
    for name in ("etc", "queue", "data"):
        (folder / name).mkdir()
        (folder / name).chmod(0o755)
    shutil.chown(folder / "data", "postfix")
    certified = authority.of_server()
    server, trusted = certified.write(folder, "server"), authority.write(folder)
    main = {
        "compatibility_level": "3.6",
        "queue_directory": str(folder / "queue"),
        "data_directory": str(folder / "data"),
        "maillog_file": str(folder / "log"),
        "maillog_file_prefixes": str(folder),
        "myhostname": "relay.example",
        "inet_interfaces": "127.0.0.1",
        "inet_protocols": "ipv4",
        "mynetworks": "127.0.0.0/8",
        "relay_domains": "example.org",
        "mydestination": "",
        "relay_transport": "discard:",
        "default_transport": "error:not here",
        "smtpd_tls_security_level": "may",
        "smtpd_tls_chain_files": str(server),
        "smtpd_tls_CAfile": str(trusted),
        "smtpd_tls_loglevel": "1",
        "smtpd_peername_lookup": "no",
        **settings,
    }
    text = "".join(f"{name} = {value}\n" for name, value in main.items())
    (folder / "etc" / "main.cf").write_text(text)
    (folder / "etc" / "master.cf").write_text(services)


def _are_open(*addresses: str) -> bool:
    from tests.journeys.test_relay import is_open

    return all(is_open(address) for address in addresses)


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
