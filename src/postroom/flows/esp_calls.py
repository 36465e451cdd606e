"""One session with the API of a provider, spoken by django-anymail; it blocks, so it lives in a thread."""

from __future__ import annotations

import time
import warnings
from typing import Any, Final

from django.core.mail import EmailMultiAlternatives
from django.utils.module_loading import import_string

from postroom.outgoing import esp_answers
from postroom.outgoing.esp import Account
from postroom.outgoing.esp_answers import Answer
from postroom.outgoing.esp_letters import NotCarried, letter_of
from postroom.smtp.errors import RelayUnreachable
from postroom.smtp.mail import MailObject

CONNECT_SECONDS: Final = 10.0
ANSWER_SECONDS = 60.0
ANSWER_OCTETS: Final = 256 * 1024
FRESH_SECONDS: Final = 4.0  # servers keep a connection for 5 s and more; one they close tells us nothing
WITHOUT_EXTRA: Final = (
    "Sending through an email service provider needs a package that is not installed. "
    "Install it with pip install 'postroom[esp]', and start Postroom again."
)


class ApiSession:
    """A kept session with one account. Not for two threads at once."""

    def __init__(self, account: Account) -> None:
        """Load the back end. Raises RelayUnreachable, with the remedy, if that cannot be done."""
        self.account = account
        self.backend = _backend(account)
        self.has_left = False
        self.used_at = 0.0

    def reach(self) -> None:
        """Ask the host of the API for a sign of life, without credentials. Raises RelayUnreachable.

        Any answer will do. Nothing is asked where the library alone knows the host.
        """
        if not hasattr(self.backend, "api_url"):
            return
        self._open()
        try:
            self.backend.session.head(
                self.backend.api_url, timeout=(CONNECT_SECONDS, CONNECT_SECONDS), allow_redirects=False
            )
        except OSError as error:  # every exception of requests is one
            words = esp_answers.words_of_failure(error)
            raise RelayUnreachable(
                f"{self.account.provider.label} is not reached: {words}", step="connect"
            ) from error
        self.used_at = time.monotonic()

    def send(self, mail: MailObject) -> Answer:
        """Hand one copy over. Never raises: whatever goes wrong is an answer."""
        self.has_left = False
        try:
            return self._sent(mail)
        except Exception as error:  # a provider's answer may be made to break whatever reads it
            may_have_left = self.has_left or getattr(self.backend, "session", None) is None
            return esp_answers.broken(self.account.provider, error, has_left=may_have_left)
        finally:
            self.used_at = time.monotonic()

    def _sent(self, mail: MailObject) -> Answer:
        try:
            letter = letter_of(mail, self.account.provider)
            self._open()
            self.backend.send_messages([letter])
        except NotCarried as error:
            return esp_answers.not_carried(str(error))
        except Exception as error:  # of anymail, of what it stands on, or of a mail that nobody foresaw
            return self._failed(error)
        return self._taken(letter)

    def close(self) -> None:
        """End the session; it may be used again."""
        self.backend.close()

    def _open(self) -> None:
        """Open it, anew if it was idle: nobody knows what became of a request on a connection that ends."""
        if time.monotonic() - self.used_at > FRESH_SECONDS:
            self.backend.close()
        if self.backend.open() and getattr(self.backend, "session", None) is not None:
            session = self.backend.session
            session.max_redirects = 0  # an API does not move; whoever redirects it is not to get our key
            _note_departures(session, self)

    def _taken(self, letter: EmailMultiAlternatives) -> Answer:
        """What the provider said of the one recipient."""
        provider = self.account.provider
        status: Any = letter.anymail_status  # type: ignore[attr-defined]  # anymail has set it
        said = next(iter(status.recipients.values()), None)
        if said is None or said.status in (None, "unknown"):
            return esp_answers.unclear(provider, "its answer does not name the recipient.")
        if said.status in ("invalid", "rejected", "failed"):
            return esp_answers.refused(provider, *_status_and_body(status.esp_response))
        return esp_answers.accepted(said.message_id or "")

    def _failed(self, error: Exception) -> Answer:
        from anymail.exceptions import AnymailAPIError, AnymailRecipientsRefused

        provider = self.account.provider
        response = getattr(error, "response", None)
        if isinstance(error, AnymailRecipientsRefused):
            return esp_answers.refused(provider, *_status_and_body(response))
        if isinstance(error, AnymailAPIError) and response is not None:
            return esp_answers.by_status(provider, *_status_and_body(response))
        if isinstance(error, AnymailAPIError) or self.has_left:
            return esp_answers.by_failure(provider, error)
        words = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return esp_answers.not_carried(f"{provider.label} cannot be given this mail: {words}")


def _backend(account: Account) -> Any:
    """Made directly and not by Django's settings, so that each server has credentials of its own."""
    try:
        backend = import_string(f"anymail.backends.{account.provider.module}.EmailBackend")
    except ImportError as error:
        raise RelayUnreachable(_remedy(error), step="connect", is_permanent=True) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a provider that anymail does not try any more
            made: Any = backend(**_settings(account))
    except Exception as error:  # options that it does not take
        words = esp_answers.words_of_failure(error)
        raise RelayUnreachable(
            f"{account.provider.label} cannot be used with these settings: {words}",
            step="auth",
            is_permanent=True,
        ) from error
    return made


def _settings(account: Account) -> dict[str, Any]:
    """What the API cannot do with a mail is left out of it: a picture becomes a file, say."""
    settings = {**account.settings(), "ignore_unsupported_features": True}
    if account.provider.key != "amazon_ses":
        settings["timeout"] = (CONNECT_SECONDS, ANSWER_SECONDS)
    return settings


def _remedy(error: ImportError) -> str:
    """The extra, or what one provider needs beside it."""
    if "boto3" in str(error):
        return (
            "Sending through Amazon SES needs one more package. Install it with "
            "pip install 'postroom[esp]' 'django-anymail[amazon-ses]', and start Postroom again."
        )
    return WITHOUT_EXTRA


def _status_and_body(response: Any) -> tuple[int, object]:
    """Of an answer of requests, or of the dictionary that Amazon's library makes of one."""
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return int(status), {"error": response.get("Error", {})}
    return int(response.status_code), esp_answers.body_of(response.text)


def _bounded(response: Any) -> Any:
    """Keep no more of an answer than any answer has; the rest of it ends with its connection."""
    kept, count = [], 0
    for octets in response.iter_content(8192):
        kept.append(octets)
        count += len(octets)
        if count > ANSWER_OCTETS:
            response.close()
            break
    response._content, response._content_consumed = b"".join(kept)[:ANSWER_OCTETS], True
    return response


def _note_departures(session: Any, calls: ApiSession) -> None:
    """See to it that `has_left` is set when a request leaves, and not while it is only being put together."""
    from requests.adapters import HTTPAdapter

    class Departures(HTTPAdapter):
        def send(self, request: Any, *given: Any, **named: Any) -> Any:
            calls.has_left = True
            return _bounded(super().send(request, *given, **named))

    for scheme in ("https://", "http://"):
        session.mount(scheme, Departures())
