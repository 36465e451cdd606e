"""What people type, checked and turned into values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS
from django.core.files.uploadedfile import UploadedFile
from django.http import QueryDict
from django.utils.datastructures import MultiValueDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from postroom.conversations.models.records import Alias, Stream
from postroom.wire.address import AddressError, Mailbox, normalise, parse_mailboxes
from postroom.workspaces import parameters
from postroom.workspaces.models import CaptureMode, Channel, MailDomain, Member, Role
from postroom.workspaces.refusals import RequestRefused
from postroom.workspaces.time_zones import known_zone

if TYPE_CHECKING:
    _OfDomain = forms.ModelForm[MailDomain]
    _OfAlias = forms.ModelForm[Alias]
else:  # the class takes no parameter when it runs
    _OfDomain = _OfAlias = forms.ModelForm

NAMED_AT_MOST = 50
_QUOTED = re.compile(r'"[^"]*"')
_PIECE = re.compile(r'(?:"[^"]*"|[^,"]|")+')


class IdsField(forms.Field):
    """Any number of ids under one name."""

    widget = forms.MultipleHiddenInput

    def clean(self, value: Any) -> list[int]:
        """The ids, without what is none."""
        return [int(text) for text in value or [] if text.isdecimal() and len(text) < 19]


class IdsForm(forms.Form):
    """Rows chosen in a list."""

    ids = IdsField(required=False)


class ChosenForm(IdsForm):
    """Rows chosen in a list, or the one row whose own button was pressed."""

    only = IdsField(required=False)

    @property
    def chosen(self) -> list[int]:
        """What the button acts on: a row's button leaves the selection alone."""
        ids: list[int] = self.cleaned_data["only"] or self.cleaned_data["ids"]
        return ids


class AddrSpecField(forms.CharField):
    """One email address, normalised; without one, empty."""

    widget = forms.EmailInput

    def clean(self, value: Any) -> str:
        """The address as it is compared and stored."""
        text = super().clean(value)
        if not text:
            return ""
        try:
            return normalise(text)
        except AddressError as error:
            raise forms.ValidationError(
                _("%(text)s is not an email address. Write one like name@example.com.") % {"text": text}
            ) from error


class MailboxesField(forms.CharField):
    """Several addresses, with or without names, separated by commas."""

    def clean(self, value: Any) -> list[Mailbox]:
        """The addresses; every piece must be one."""
        text = super().clean(value).replace(";", ",").replace("\n", ",")
        pieces = [piece for piece in _QUOTED.sub("", text).split(",") if piece.strip()]
        found = parse_mailboxes(text, NAMED_AT_MOST + 1)
        if len(found) < len(pieces) or not all(_is_address(mailbox.addr_spec) for mailbox in found):
            raise forms.ValidationError(_what_is_wrong(text))
        if len(found) > NAMED_AT_MOST:
            raise forms.ValidationError(_("Name %(count)d people at most.") % {"count": NAMED_AT_MOST})
        return found


def _what_is_wrong(text: str) -> str:
    wrong = [piece.strip() for piece in _PIECE.findall(text) if piece.strip() and not _is_mailbox(piece)]
    if not wrong:
        return _("At least one of these is not an email address. Write name@example.com.")
    return ngettext(
        "%(wrong)s is not an email address. Write one like name@example.com.",
        "%(wrong)s are not email addresses. Write them like name@example.com.",
        len(wrong),
    ) % {"wrong": ", ".join(f"“{piece[:80]}”" for piece in wrong[:5])}


def _is_mailbox(piece: str) -> bool:
    found = parse_mailboxes(piece, 2)
    return len(found) == 1 and _is_address(found[0].addr_spec)


def _is_address(text: str) -> bool:
    try:
        return bool(normalise(text))
    except AddressError:
        return False


class FilesInput(forms.ClearableFileInput):
    """A file input that takes several."""

    allow_multiple_selected = True


class FilesField(forms.FileField):
    """Any number of files."""

    widget = FilesInput

    def clean(self, value: Any, initial: Any = None) -> list[UploadedFile[Any]]:
        """The files chosen."""
        return [super(FilesField, self).clean(file, initial) for file in value or []]


class ComposerForm(forms.Form):
    """What is to be said on a record, and to whom else."""

    KINDS = [("discussions", gettext_lazy("Send message")), ("note", gettext_lazy("Log note"))]
    kind = forms.ChoiceField(choices=KINDS, widget=forms.RadioSelect, initial="discussions")
    body = forms.CharField(
        label=gettext_lazy("What do you want to say?"),
        widget=forms.Textarea(attrs={"rows": 4}),
        max_length=500_000,
        error_messages={"required": gettext_lazy("Write something first.")},
    )
    named = MailboxesField(label=gettext_lazy("Also tell"), required=False, max_length=5000)
    stream = forms.ChoiceField(
        label=gettext_lazy("Leaves"),
        required=False,
        choices=[
            ("", gettext_lazy("As usual")),
            (Stream.URGENT, gettext_lazy("At once (urgent)")),
            (Stream.BULK, gettext_lazy("With the next run of the queue (bulk)")),
        ],
    )
    attached = FilesField(label=gettext_lazy("Attachments"), required=False)
    are_outsiders_confirmed = forms.BooleanField(required=False)

    @property
    def chosen_again(self) -> list[str]:
        """Names of files that came with this form and have to be chosen again if it is shown once more."""
        chosen = self.files.getlist("attached") if isinstance(self.files, MultiValueDict) else []
        return [str(file.name) for file in chosen]


class CorrectionsForm(forms.Form):
    """The failure panel: whom to try again, at which address, and whether the contact is corrected too."""

    shown = IdsField()
    again = IdsField(required=False)
    update = IdsField(required=False)

    def __init__(self, posted: QueryDict) -> None:
        super().__init__(posted)
        for email_id in IdsField().clean(posted.getlist("again")):
            self.fields[f"address-{email_id}"] = AddrSpecField(required=False)

    @property
    def addresses(self) -> Mapping[int, str]:
        """Email id → the address as corrected ("" if it was left as it is), of those to try again."""
        return {email_id: self.cleaned_data[f"address-{email_id}"] for email_id in self.cleaned_data["again"]}


class FollowerForm(forms.Form):
    """Somebody who is to follow a record."""

    address = AddrSpecField(label=gettext_lazy("Email address"))
    name = forms.CharField(label=gettext_lazy("Name"), required=False, max_length=200)


class ZoneField(forms.CharField):
    """A time zone by its IANA name; empty only where the field is not required.

    Its page includes `postroom/_zones.html`, which offers all of them.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=64, **options)
        self.widget.attrs |= {"list": "zones", "autocomplete": "off", "spellcheck": "false"}

    def clean(self, value: Any) -> str:
        """The name as the IANA database spells it."""
        text = super().clean(value)
        try:
            return known_zone(text) if text else ""
        except RequestRefused as refusal:
            raise forms.ValidationError(str(refusal)) from refusal


class WorkspaceForm(forms.Form):
    """The workspace's own settings."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=120)
    time_zone = ZoneField(
        label=gettext_lazy("Time zone"),
        help_text=gettext_lazy("Scheduled actions keep their hour of the clock in it, in summer and winter."),
    )


class DomainForm(_OfDomain):
    """A mail domain and its local parts."""

    class Meta:
        model = MailDomain
        fields = ["domain", "from_local_part", "bounce_local_part", "catchall_local_part"]
        error_messages = {
            "domain": {"unique": gettext_lazy("This is already a mail domain of this installation.")}
        }
        labels = {
            "domain": gettext_lazy("Domain"),
            "from_local_part": gettext_lazy("Mail goes out from"),
            "bounce_local_part": gettext_lazy("Bounce alias"),
            "catchall_local_part": gettext_lazy("Catchall"),
        }

    def clean(self) -> dict[str, Any]:
        """Every local part must make an address with the domain, and no two may be the same."""
        cleaned = super().clean() or {}
        domain = str(cleaned.get("domain", "")).strip().lower()
        names = [name for name in self.Meta.fields if name != "domain" and cleaned.get(name)]
        for name in names:
            cleaned[name] = self._local_part(name, cleaned[name], domain)
        if len({cleaned[name] for name in names}) < len(names):
            raise forms.ValidationError(_("Use a different word for each of these addresses."))
        return {**cleaned, "domain": domain}

    def _local_part(self, name: str, text: str, domain: str) -> str:
        try:
            if name == "from_local_part" and "@" in text:
                return normalise(text)  # a whole address: every mail goes out from it
            return normalise(f"{text}@{domain}").partition("@")[0]
        except AddressError as error:
            self.add_error(name, str(error))
            return text


class AliasForm(_OfAlias):
    """An address that opens records, or leads to one."""

    forced = forms.CharField(
        label=gettext_lazy("Always to the record (number)"),
        required=False,
        help_text=gettext_lazy("The number in the record's address. Empty: every mail opens a new record."),
    )

    class Meta:
        model = Alias
        fields = ["local_part", "mail_domain", "model", "policy", "accepts_automatic", "bounced_text"]
        error_messages = {
            NON_FIELD_ERRORS: {
                "unique_together": gettext_lazy("There is already an alias with this address.")
            }
        }
        labels = {
            "local_part": gettext_lazy("Address"),
            "mail_domain": gettext_lazy("Domain"),
            "model": gettext_lazy("Opens a record of the model"),
            "policy": gettext_lazy("Who may write"),
            "accepts_automatic": gettext_lazy("Automatic mail may open records too"),
            "bounced_text": gettext_lazy("What refused senders are told"),
        }
        widgets = {"bounced_text": forms.Textarea(attrs={"rows": 3})}

    def __init__(self, *args: Any, member: Member, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        own = MailDomain.objects.filter(workspace_id=member.workspace_id).order_by("-is_default", "domain")
        cast(Any, self.fields["mail_domain"]).queryset = own
        self.fields["mail_domain"].initial = own.first()
        self._records = member.workspace.records
        if self.instance.forced_record_id:
            self.fields["forced"].initial = self.instance.forced_record_id

    def clean_forced(self) -> Any:
        """The record of that number, if there is one in this workspace."""
        text = self.cleaned_data["forced"].strip().lstrip("#")
        if not text:
            return None
        found = self._records.filter(pk=int(text)).first() if text.isdecimal() and len(text) < 19 else None
        if found is None:
            raise forms.ValidationError(_("There is no record %(number)s.") % {"number": text})
        return found

    def clean(self) -> dict[str, Any]:
        """An alias needs a place where its mail goes; its address must be one."""
        cleaned = super().clean() or {}
        if not cleaned.get("model") and not cleaned.get("forced") and "forced" not in self.errors:
            self.add_error("model", _("Name a model, or the number of one record."))
        if cleaned.get("mail_domain") and cleaned.get("local_part"):
            self._check_address(cleaned)
        return cleaned

    def _check_address(self, cleaned: dict[str, Any]) -> None:
        try:
            address = normalise(f"{cleaned['local_part']}@{cleaned['mail_domain'].domain}")
        except AddressError as error:
            self.add_error("local_part", str(error))
            return
        cleaned["local_part"] = address.partition("@")[0]
        if "+" in cleaned["local_part"]:
            self.add_error("local_part", _("Leave the + out: what follows it is Postroom's own mark."))


class InvitationForm(forms.Form):
    """Somebody who is to become a member."""

    address = AddrSpecField(label=gettext_lazy("Email address"))
    name = forms.CharField(label=gettext_lazy("Name"), required=False, max_length=200)
    role = forms.ChoiceField(label=gettext_lazy("Role"), initial=Role.MEMBER)
    language = forms.ChoiceField(label=gettext_lazy("Language"))

    def __init__(self, *args: Any, by: Member, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        roles = [choice for choice in Role.choices if by.is_operator or choice[0] != Role.OPERATOR]
        cast(Any, self.fields["role"]).choices = roles
        cast(Any, self.fields["language"]).choices = Member._meta.get_field("language").choices
        self.fields["language"].initial = by.language


class KeyForm(forms.Form):
    """A new API key."""

    name = forms.CharField(label=gettext_lazy("What is it for?"), max_length=80)


class ParameterForm(forms.Form):
    """One system parameter; empty means its default."""

    key = forms.ChoiceField(choices=lambda: [(key, key) for key in sorted(parameters.KNOWN)])
    value = forms.CharField(required=False, max_length=500)


class CaptureForm(forms.Form):
    """What capture mode is to do next."""

    scope = forms.ChoiceField(choices=[("workspace", "workspace"), ("installation", "installation")])
    wanted = forms.ChoiceField(choices=[("on", "on"), ("off", "off")])
    mode = forms.ChoiceField(choices=CaptureMode.choices, required=False)
    to = forms.CharField(required=False, max_length=254)
    allowed = forms.CharField(required=False, max_length=5000)
    is_retried = forms.BooleanField(required=False)


class PreferencesForm(forms.Form):
    """What members choose for themselves."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=200)
    address = AddrSpecField(
        label=gettext_lazy("Email address"), help_text=gettext_lazy("You also log in with it.")
    )
    language = forms.ChoiceField(label=gettext_lazy("Language"))
    channel = forms.ChoiceField(
        label=gettext_lazy("How you are told"), choices=Channel.choices, widget=forms.RadioSelect
    )
    is_developer = forms.BooleanField(
        label=gettext_lazy("Developer mode"),
        required=False,
        help_text=gettext_lazy(
            "Shows Technical, with scheduled actions and system parameters, and the ids that programs use."
        ),
    )

    def __init__(self, *args: Any, is_admin: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not is_admin:  # there is nothing that it would show
            del self.fields["is_developer"]
        cast(Any, self.fields["language"]).choices = Member._meta.get_field("language").choices
