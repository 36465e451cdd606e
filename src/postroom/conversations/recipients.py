"""Who is told what is said, how, and who is not and why: one question, asked of the database.

Candidates are the followers of the record and whoever is named. Each meets the same hurdles in the same
order, and the first one that stops them is the reason. The question is a queryset over Contact: the preview
reads its answers as querysets, the posting writes it out once and picks each answer by INSERT … SELECT.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypedDict, cast

from django.db.models import BooleanField, Case, CharField, Expression, F, Q, QuerySet, Value, When, Window
from django.db.models.functions import RowNumber

from postroom.conversations.models import Address, Alias, Contact, Follower, Subtype
from postroom.conversations.models.addresses import ContactQuerySet
from postroom.workspaces.insert_selected import Selection, written
from postroom.workspaces.models import Channel, MailDomain

if TYPE_CHECKING:
    from django_stubs_ext.annotations import WithAnnotations


class Reason(StrEnum):
    """Why somebody is not told. The values are stored with Events."""

    AUTHOR = "author"
    INACTIVE = "inactive"
    INTERNAL = "internal"
    NOT_SUBSCRIBED = "not_subscribed"
    NO_ADDRESS = "no_address"
    ALREADY_TOLD = "already_told"
    OWN_ALIAS = "own_alias"
    SAME_ADDRESS = "same_address"


class Why(StrEnum):
    """Why somebody is told."""

    FOLLOWER = "follower"
    NAMED = "named"


class Layout(StrEnum):
    """What a recipient's mail looks like.

    Members get a button to the record; those of them who follow it, and are not only named, can unfollow it
    from the mail, too. People outside get neither.
    """

    MEMBER = "member"
    FOLLOWER = "follower"
    OUTSIDE = "outside"


class Found(TypedDict):
    """What is worked out for each candidate; `hurdle` is "" for those whom nothing stops."""

    channel: str
    why: str
    layout: str
    spoken: str
    hurdle: str


# The answers as conditions over `Audience.written()`.
BY_EMAIL = f"hurdle = '' AND channel = '{Channel.EMAIL}' AND place = 1"
IN_POSTROOM = f"hurdle = '' AND channel = '{Channel.POSTROOM}'"
PASSED_OVER = "hurdle <> ''"
SHARING = f"hurdle = '' AND channel = '{Channel.EMAIL}' AND place > 1"


if TYPE_CHECKING:
    Candidate = WithAnnotations[Contact, Found]


@dataclass(frozen=True, kw_only=True)  # without slots: building the question costs more than asking it
class Audience:
    """What is about to be said, as far as it decides who is told.

    `already_told` are normalised addresses that have the mail from outside. `are_outsiders_confirmed`
    lets outsiders who are named be told something internal.
    """

    workspace_id: int
    record_id: int | None
    subtype: Subtype | None
    author: Contact | None
    named_ids: tuple[int, ...] = ()
    already_told: frozenset[str] = frozenset()
    are_outsiders_confirmed: bool = False

    @cached_property
    def candidates(self) -> QuerySet[Candidate]:
        """Everybody the question arises for, with `channel`, `why`, `layout`, `spoken` and `hurdle`.

        `hurdle` is the reason that stops them, or "". Two who share an address still both have "".
        """
        found: Any = (
            self._everyone()
            .filter(self._is_asked_about())
            .annotate(
                channel=self._channel(),
                why=_case((self._is_named(), Why.NAMED), default=Why.FOLLOWER),
                layout=_case(
                    (Q(member__isnull=False) & self._is_following(), Layout.FOLLOWER),
                    (Q(member__isnull=False), Layout.MEMBER),
                    default=Layout.OUTSIDE,
                ),
                spoken=Case(When(member__isnull=False, then=F("member__language")), default=F("language")),
            )
            .annotate(hurdle=_case(*self._hurdles(), default=""))
        )
        return cast("QuerySet[Candidate]", found)

    def by_email(self) -> QuerySet[Candidate]:
        """Those who are mailed: one per address, the named before the followers."""
        return self._placed.filter(Q(place=1))

    def in_postroom(self) -> QuerySet[Candidate]:
        """The members who are told in Postroom."""
        return self.candidates.filter(hurdle="", channel=Channel.POSTROOM)

    def passed_over(self) -> QuerySet[Candidate]:
        """Those who are not told; `hurdle` is the reason."""
        return self.candidates.exclude(hurdle="")

    def sharing(self) -> QuerySet[Candidate]:
        """Those who are not mailed only because the mail to their address is somebody else's copy."""
        return self._placed.filter(Q(place__gt=1))

    def written(self) -> Selection:
        """The same question written out once for all its answers; BY_EMAIL and its like pick from them."""
        columns = ("id", "address_id", "member_id", "channel", "why", "layout", "spoken", "hurdle")
        found = written(self.candidates, *columns)
        place = (
            "ROW_NUMBER() OVER (PARTITION BY address_id, channel, hurdle"
            f" ORDER BY CASE WHEN why = '{Why.NAMED}' THEN 0 ELSE 1 END, id)"
        )
        return found.pick("1 = 1", **{name: name for name in columns}, place=place)

    def outsiders(self) -> QuerySet[Contact]:
        """Those named who are not of the house, if it is something internal; else nobody."""
        if not self._is_internal:
            return Contact.objects.none()
        named = self._everyone().filter(pk__in=self.named_ids, member=None, is_active=True)
        return named.select_related("address").order_by("name", "pk")  # shown after what made them is undone

    def _is_asked_about(self) -> Q:
        named = self._everyone().filter(pk__in=self.named_ids).values_list("pk")
        if self.record_id is None:
            return Q(pk__in=named)
        followers = Follower.objects.filter(record_id=self.record_id).values_list("contact_id")
        return Q(pk__in=followers.union(named))

    @property
    def _is_internal(self) -> bool:
        return self.subtype is not None and self.subtype.is_internal

    def _everyone(self) -> ContactQuerySet:
        rows = Contact.objects.filter(workspace_id=self.workspace_id)
        assert isinstance(rows, ContactQuerySet)
        return rows

    @cached_property
    def _placed(self) -> QuerySet[Candidate]:
        named_first: list[Expression | F] = [_flag(~self._is_named()), F("pk")]
        place = Window(RowNumber(), partition_by=[F("address_id")], order_by=named_first)
        return self.candidates.filter(hurdle="", channel=Channel.EMAIL).annotate(place=place)

    def _channel(self) -> Case:
        # A member whose address leads back to the workspace would only answer themselves by mail.
        inside = Q(member__isnull=False) & (Q(member__channel=Channel.POSTROOM) | self._is_own())
        return _case((inside, Channel.POSTROOM), default=Channel.EMAIL)

    def _hurdles(self) -> list[tuple[Q, str]]:
        is_mailed = Q(channel=Channel.EMAIL)
        hurdles = [
            (self._is_author(is_mailed), Reason.AUTHOR),
            (Q(is_active=False) | Q(member__is_active=False), Reason.INACTIVE),
        ]
        if self._is_internal:
            may = self._is_named() if self.are_outsiders_confirmed else _nobody()
            hurdles.append((Q(member__isnull=True) & ~may, Reason.INTERNAL))
        hurdles.append((~self._is_subscribed() & ~self._is_named(), Reason.NOT_SUBSCRIBED))
        hurdles.append((is_mailed & Q(address__isnull=True), Reason.NO_ADDRESS))
        hurdles.append((is_mailed & self._is_at(self.already_told), Reason.ALREADY_TOLD))
        hurdles.append((is_mailed & self._is_own(), Reason.OWN_ALIAS))
        return [(condition, str(reason)) for condition, reason in hurdles]

    def _is_author(self, is_mailed: Q) -> Q:
        if self.author is None:
            return _nobody()
        same_box = Q(address_id=self.author.address_id) if self.author.address_id else _nobody()
        return Q(pk=self.author.pk) | (is_mailed & same_box)

    def _is_named(self) -> Q:
        return Q(pk__in=self.named_ids) if self.named_ids else _nobody()

    def _is_following(self) -> Q:
        if self.record_id is None:
            return _nobody()
        return Q(pk__in=Follower.objects.filter(record_id=self.record_id).values("contact_id"))

    def _is_subscribed(self) -> Q:
        if self.record_id is None or self.subtype is None:
            return _nobody()
        follows = Follower.objects.filter(record_id=self.record_id, subtypes=self.subtype)
        return Q(pk__in=follows.values("contact_id"))

    def _is_at(self, addr_specs: frozenset[str]) -> Q:
        if not addr_specs:
            return _nobody()
        there = Address.objects.filter(workspace_id=self.workspace_id, addr_spec__in=addr_specs)
        return Q(address_id__in=there.values("pk"))

    def _is_own(self) -> Q:
        return self._is_at(self._own)

    @cached_property
    def _own(self) -> frozenset[str]:
        return own_addresses(self.workspace_id)


def own_addresses(workspace_id: int) -> frozenset[str]:
    """The addresses that lead back into the workspace: aliases, catchall, bounce and From of its domains."""
    found = {
        alias.addr_spec
        for alias in Alias.objects.filter(workspace_id=workspace_id).select_related("mail_domain")
    }
    for domain in MailDomain.objects.filter(workspace_id=workspace_id):
        local_parts = (domain.bounce_local_part, domain.catchall_local_part, domain.from_local_part)
        found.update(f"{local_part}@{domain.domain}" for local_part in local_parts)
    return frozenset(found)


def _case(*choices: tuple[Q, str], default: str) -> Case:
    whens = [When(condition, then=Value(str(value))) for condition, value in choices]
    return Case(*whens, default=Value(str(default)), output_field=CharField())


def _flag(condition: Q) -> Expression:
    return Case(When(condition, then=Value(True)), default=Value(False), output_field=BooleanField())


def _nobody() -> Q:
    return Q(pk__in=())
