"""`postroom secret …`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from postroom.commands.calling import line_for
from postroom.commands.output import AsJson, print_list, print_one

if TYPE_CHECKING:
    from postroom_server.config import Config

app = typer.Typer(
    help="The secret keys: what seals passwords in the database and signs addresses.", no_args_is_help=True
)


@dataclass(frozen=True, slots=True)
class SecretKeyShape:
    """A key and how many secrets it seals.

    `number` None stands for secrets that no key opens: they have to be entered anew. `may_be_removed`: it is
    not the newest and seals nothing; addresses and links in mail of its time are still signed with it.
    """

    number: int | None
    sealed_count: int
    is_newest: bool
    may_be_removed: bool


@dataclass(frozen=True, slots=True)
class RotationShape:
    """What a rotation did. `number` is the newest key; `is_new`: it was made now.

    `resealed_count` secrets are sealed with it now, `kept_count` were already, `lost_count` are opened by no
    key. `is_finished`: nothing but lost ones is left to an older key.
    """

    number: int
    is_new: bool
    resealed_count: int
    kept_count: int
    lost_count: int
    is_finished: bool


@app.command("status", epilog="Example: postroom secret status --json")
def status(as_json: AsJson = False) -> None:
    """Say how many secrets each key seals, and which key nothing needs any more."""
    from postroom.commands.opening import open_installation

    config = open_installation()
    shapes = _shapes(config)
    print_list(shapes, ("number", "sealed_count", "is_newest", "what"), as_json=as_json, words=_words)


@app.command("rotate", epilog="Example: postroom secret rotate")
def rotate(
    add_only: Annotated[
        bool,
        typer.Option(
            "--add-only", help="Add the key and seal nothing yet: for several machines on one database."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Add the next key to secret.key and seal every stored secret with it.

    A Postroom that runs on this data folder reads secret.key again by itself. Other machines on the same
    database need the new file first: use --add-only there.
    """
    from postroom.commands.opening import open_installation
    from postroom_server import keys

    config = open_installation()
    number = keys.add_next(config)
    if add_only:
        print_one(RotationShape(number, True, 0, 0, 0, False), _added(number), as_json=as_json)
        return
    _reseal(config, is_new=True, as_json=as_json)


@app.command("reseal", epilog="Example: postroom secret reseal")
def reseal(as_json: AsJson = False) -> None:
    """Seal with the newest key what an older one still seals. It may be interrupted and repeated."""
    from postroom.commands.opening import open_installation

    _reseal(open_installation(), is_new=False, as_json=as_json)


def _reseal(config: Config, *, is_new: bool, as_json: bool) -> None:
    from postroom.engine import bells
    from postroom.flows import resealing
    from postroom.workspaces import stations
    from postroom_server import keys

    read = keys.load_or_make(config)
    if bells.is_taken(config.data) or stations.present():
        keys.refuse_if_unknown_to_engine(config, read)
    known = keys.sealing_keys(read)
    done = resealing.reseal(known)
    number = max(known)
    shape = RotationShape(number, is_new, done.changed_count, done.kept_count, done.lost_count, True)
    print_one(shape, _done(shape), as_json=as_json)


def _shapes(config: Config) -> list[SecretKeyShape]:
    from postroom.flows import resealing
    from postroom_server import keys

    known = keys.sealing_keys(keys.load_or_make(config))
    counted = resealing.counts(known)
    shapes = [
        SecretKeyShape(
            number, counted[number], number == max(known), not counted[number] and number != max(known)
        )
        for number in known
    ]
    lost_count = counted.get(resealing.UNOPENED, 0)
    return [*shapes, SecretKeyShape(None, lost_count, False, False)] if lost_count else shapes


def _words(shape: SecretKeyShape) -> str:
    if shape.number is None:
        return "No key opens these: add the missing line to secret.key again, or enter the secrets anew."
    if shape.is_newest:
        return "It seals and signs."
    if shape.may_be_removed:
        return (
            "It seals nothing any more, but it signed what is in mail of its time: return paths (good for "
            "90 days), links to files (for mail.attachment.link_days), reply addresses and unfollow links "
            "(for ever). Without its line none of them works; keep it while they should."
        )
    return f"Still needed. `{line_for('secret reseal')}` seals these with the newest key."


def _added(number: int) -> str:
    return (
        f"Key {number} was added to secret.key; nothing is sealed with it yet. Copy the file "
        "to every machine of this database, then run "
        f"`{line_for('secret reseal')}`."
    )


def _done(shape: RotationShape) -> str:
    made = f"Key {shape.number} was added to secret.key. " if shape.is_new else ""
    lost = (
        f" {shape.lost_count} could not be opened by any key: see `{line_for('secret status')}`."
        if shape.lost_count
        else ""
    )
    again = " Other machines on this database need the same secret.key." if shape.is_new else ""
    return (
        f"{made}{shape.resealed_count} secrets were sealed anew with key {shape.number}, "
        f"{shape.kept_count} were already.{lost}{again}"
    )
