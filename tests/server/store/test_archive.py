"""A backup is whole, or it is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from postroom_server.store import archive, landing
from postroom_server.store.archive import Writer
from postroom_server.store.manifest import HEAD, KEYS, Head, Manifest
from postroom_server.store.refusals import StoreRefused
from postroom_server.store.tables import Column, Kind, Table

TABLE = Table("postroom_thing", "id", True, (Column("id", Kind.NUMBER), Column("name", Kind.TEXT)))
THE_HEAD = Head("1.2.3", "2026-11-21T16:00:00Z", "sqlite", "here", "check", {"postroom": ["0001"]}, (TABLE,))
FILE = b"an attachment"
NAME = f"7/{hashlib.sha256(FILE).hexdigest()[:2]}/{hashlib.sha256(FILE).hexdigest()}"
ROWS = 20_000


def written(storage: Path, names: tuple[str, ...] = (NAME,), *, is_compressed: bool = False) -> bytes:
    """A small backup: rows in more than one piece, files, the keys."""
    file = io.BytesIO()
    writer = Writer(file, is_compressed=is_compressed)
    writer.add(HEAD, THE_HEAD.as_octets())
    writer.add_rows(TABLE, ([number, "x" * 300] for number in range(ROWS)), ROWS + 7, lambda count: None)
    for name in names:
        writer.add_file(storage, name)
    writer.add(KEYS, b"1:secret")
    writer.finish()
    return file.getvalue()


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("storage")
    path = folder / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(FILE)
    return folder


@pytest.fixture(scope="module")
def whole(storage: Path) -> bytes:
    return written(storage)


def verified(folder: Path, octets: bytes) -> Manifest:
    path = folder / "a.tar"
    path.write_bytes(octets)
    return archive.verify(path)[1]


@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_backup_says_what_it_holds(tmp_path: Path, storage: Path, is_compressed: bool) -> None:
    manifest = verified(tmp_path, written(storage, is_compressed=is_compressed))
    assert manifest.row_count == ROWS
    assert manifest.contents[TABLE.name].last_number == ROWS + 7
    assert (manifest.file_count, manifest.file_octets) == (1, len(FILE))
    assert manifest.has_keys
    assert len([name for name in manifest.members if archive.table_of(name)]) > 1


def test_the_head_is_read_as_it_was_written(tmp_path: Path, whole: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(whole)
    assert archive.head_of(tmp_path / "a.tar") == THE_HEAD


@settings(max_examples=25, deadline=None)
@given(part=st.floats(0, 0.99))
def test_a_backup_that_breaks_off_is_refused(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, part: float
) -> None:
    end = whole.index(b"manifest.json")
    with pytest.raises(StoreRefused):
        verified(tmp_path_factory.mktemp("part"), whole[: int(end * part)])


@settings(max_examples=25, deadline=None)
@given(place=st.integers(0, 100_000))
def test_a_backup_with_one_octet_changed_is_refused(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, place: int
) -> None:
    at = whole.index(b"xxx") + place
    changed = bytearray(whole)
    changed[at] ^= 1
    with pytest.raises(StoreRefused, match="damaged"):
        verified(tmp_path_factory.mktemp("changed"), bytes(changed))


@pytest.mark.parametrize("is_compressed", [False, True])
@settings(max_examples=60, deadline=None)
@given(part=st.floats(0, 1), octets=st.binary(min_size=8, max_size=8))
def test_a_backup_overwritten_in_the_middle_is_called_damaged(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, is_compressed: bool, part: float, octets: bytes
) -> None:
    good = gzip.compress(whole) if is_compressed else whole
    first, last = len(good) // 4, len(good) * 3 // 4
    place = int(first + part * (last - first))
    changed = good[:place] + octets + good[place + 8 :]
    assume(changed != good)
    with pytest.raises(StoreRefused, match="damaged"):
        verified(tmp_path_factory.mktemp("overwritten"), changed)


def test_a_header_that_was_overwritten_is_damage_and_no_end(tmp_path: Path, whole: bytes) -> None:
    at = whole.index(b"rows/postroom_thing/000001.jsonl")
    with pytest.raises(StoreRefused, match="is damaged or breaks off"):
        verified(tmp_path, whole[:at] + b"\xff" * 8 + whole[at + 8 :])


def test_a_changed_attachment_is_found_by_its_name(tmp_path: Path, whole: bytes) -> None:
    with pytest.raises(StoreRefused, match=f"{NAME} differ"):
        verified(tmp_path, whole.replace(FILE, b"an Attachment"))


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "storage/7/../../x",
        "storage/x",
        "rows/../x/000000.jsonl",
        "postroom.sqlite3",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for each in (HEAD, name):
            octets = THE_HEAD.as_octets()
            member = tarfile.TarInfo(each)
            member.size = len(octets)
            tar.addfile(member, io.BytesIO(octets))
    with pytest.raises(StoreRefused, match="no backup of Postroom"):
        verified(tmp_path, file.getvalue())


def test_a_link_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        member = tarfile.TarInfo(f"storage/{NAME}")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(StoreRefused, match="no backup of Postroom"):
        verified(tmp_path, file.getvalue())


@pytest.mark.parametrize("octets", [b"", b"no archive", b"\0" * 4096])
def test_another_file_is_no_backup(tmp_path: Path, octets: bytes) -> None:
    with pytest.raises(StoreRefused):
        verified(tmp_path, octets)


def test_a_format_of_the_future_is_refused_with_the_remedy() -> None:
    octets = THE_HEAD.as_octets().replace(b'"format": 1', b'"format": 2')
    with pytest.raises(StoreRefused, match="format 2, and this Postroom reads 1"):
        Head.of_octets(octets)


def test_a_table_whose_name_is_sql_is_refused() -> None:
    octets = THE_HEAD.as_octets().replace(b"postroom_thing", b'x; DROP TABLE \\"y')
    with pytest.raises(StoreRefused, match="cannot be read"):
        Head.of_octets(octets)


def test_files_that_the_storage_has_lost_are_named_and_the_rest_is_kept(
    tmp_path: Path, storage: Path
) -> None:
    lost = f"7/00/{'00' * 32}"
    damaged = f"7/11/{'11' * 32}"
    (storage / damaged).parent.mkdir(parents=True, exist_ok=True)
    (storage / damaged).write_bytes(b"something else")
    manifest = verified(tmp_path, written(storage, (NAME, lost, damaged)))
    assert (manifest.missing_files, manifest.damaged_files) == ([lost], [damaged])
    assert manifest.file_count == 2


def crafted(folder: Path, *members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    """A backup by a stranger: the right head, then these members."""
    path = folder / "a.tar"
    with tarfile.open(path, "w", format=form) as tar:
        for member, octets in ((tarfile.TarInfo(HEAD), THE_HEAD.as_octets()), *members):
            member.size = len(octets)
            tar.addfile(member, io.BytesIO(octets))
    return path


def test_a_member_that_says_it_is_longer_than_what_there_is_of_it_is_refused(tmp_path: Path) -> None:
    sparse = tarfile.TarInfo(f"storage/{NAME}")
    sparse.pax_headers = {
        "GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,0",
        "GNU.sparse.size": str(1 << 40), "GNU.sparse.name": sparse.name,
    }  # fmt: skip
    with pytest.raises(StoreRefused, match="This is no backup of Postroom"):
        archive.verify(crafted(tmp_path, (sparse, b"")))


@pytest.mark.parametrize("name", [f"rows/{TABLE.name}/000000.jsonl", KEYS, "manifest.json"])
def test_what_is_longer_than_postroom_writes_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(archive, "LONGEST_OCTETS", 5000)
    with pytest.raises(StoreRefused, match="is too long"):
        archive.verify(crafted(tmp_path, (tarfile.TarInfo(name), b"x" * 5001)))


def test_a_long_header_is_refused_unread(tmp_path: Path) -> None:
    long = tarfile.TarInfo(KEYS)
    long.pax_headers = {"comment": "x" * (archive.PIECE_OCTETS + 1)}
    with pytest.raises(StoreRefused, match="no plain file"):
        archive.verify(crafted(tmp_path, (long, b"")))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE])
def test_what_is_no_plain_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    link = tarfile.TarInfo(KEYS)
    link.type, link.linkname = kind, "/etc/passwd"
    with pytest.raises(StoreRefused, match="no backup"):
        archive.verify(crafted(tmp_path, (link, b"")))


@pytest.mark.parametrize(
    "octets", [b"BZh91AY&SY" + b"garbage" * 40, b"\xfd7zXZ\0" + b"garbage" * 40, b"\x1f\x8bx"]
)
def test_another_compression_or_a_broken_one_is_refused(tmp_path: Path, octets: bytes) -> None:
    with pytest.raises(StoreRefused, match="no whole backup"):
        verified(tmp_path, octets)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("members", [1]), ("contents", []), ("contents", {"postroom_thing": 7}), ("file_count", "x"),
        ("missing_files", 7), ("missing_files", [7]), ("damaged_files", [[1]]),
    ],
)  # fmt: skip
def test_a_manifest_that_says_something_else_is_refused(name: str, value: object) -> None:
    form = json.loads(Manifest().as_octets())
    assert Manifest.of_octets(json.dumps(form).encode()) == Manifest()
    with pytest.raises(StoreRefused, match=r"manifest\.json of this backup cannot be read"):
        Manifest.of_octets(json.dumps({**form, name: value}).encode())


def test_a_manifest_without_a_bottom_is_refused() -> None:
    with pytest.raises(StoreRefused, match="no backup of Postroom"):
        Manifest.of_octets(b"[" * 100_000)


def test_a_manifest_that_leaves_a_table_out_is_refused(tmp_path: Path) -> None:
    empty = tarfile.TarInfo("manifest.json")
    said = Manifest(members={HEAD: hashlib.sha256(THE_HEAD.as_octets()).hexdigest()})
    with pytest.raises(StoreRefused, match="leaves tables out"):
        archive.verify(crafted(tmp_path, (empty, said.as_octets())))


def test_keys_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match="name them with --keys"):
        landing.keys_in(crafted(tmp_path, (tarfile.TarInfo(KEYS), b"\xff\xfe")))
