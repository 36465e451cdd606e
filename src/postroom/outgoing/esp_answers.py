"""What the answer of a provider's API means for the mail, as if a relay had said it after the final dot."""

from __future__ import annotations

import http
import json
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from postroom.outgoing.esp import Provider
from postroom.smtp.errors import RelayUnreachable
from postroom.wire.characters import one_line
from postroom.wire.reply import EnhancedStatus, Outcome, Reply

_TROUBLE: Final = frozenset({401, 402, 403, 407})
_LATER: Final = frozenset({408, 425})
_GATEWAY_TIMEOUT: Final = 504
_TOO_MANY: Final = 429
_CONGESTED: Final = EnhancedStatus(4, 4, 5)
_NO_ANSWER: Final = EnhancedStatus(4, 4, 1)
_NOT_CARRIED: Final = EnhancedStatus(5, 6, 1)
_MOST_CHARACTERS: Final = 500
_MOST_OCTETS: Final = 100_000
_DEEPEST: Final = 20
_MOST_TEXTS: Final = 50
_WORDS: Final = (
    "message",
    "errormessage",
    "error",
    "errors",
    "detail",
    "description",
    "reason",
    "reject_reason",
)
_CODES: Final = ("errorcode", "code", "name", "type")
_NEVER_LEFT: Final = (
    frozenset(  # classes of urllib3, requests and botocore, by name: they may not be installed
        {"NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "ConnectTimeout", "ProxyError"}
        | {"EndpointConnectionError", "ProxyConnectionError", "InvalidURL", "MissingSchema", "InvalidSchema"}
    )
)
_NO_CREDENTIALS: Final = frozenset({"NoCredentialsError", "PartialCredentialsError", "NoRegionError"})
_THROTTLES: Final = frozenset({"Throttling", "ThrottlingException", "TooManyRequestsException"})


@dataclass(frozen=True, slots=True)
class Answer:
    """How one call ended. `trouble` is set if no other mail would fare better: then the mail was not taken.

    `reply` says it as a relay would, None if nobody answered. `has_begun`: the mail left this machine.
    """

    outcome: Outcome
    reply: Reply | None
    trouble: RelayUnreachable | None = None
    has_begun: bool = True


def accepted(remote_id: str) -> Answer:
    """It was taken; `remote_id` is what the provider calls it (empty: it did not say)."""
    words = f"queued as {remote_id}" if remote_id else "accepted"
    return Answer(Outcome.ACCEPTED, Reply(250, EnhancedStatus(2, 0, 0), one_line(words)))


def not_carried(words: str) -> Answer:
    """It cannot be handed over at all; nothing was sent."""
    return Answer(Outcome.REFUSED, Reply(554, _NOT_CARRIED, _short(words)), has_begun=False)


def refused(provider: Provider, status: int, body: object) -> Answer:
    """This recipient or this mail is not wanted."""
    return Answer(Outcome.REFUSED, Reply(550, None, _words(provider, status, body)))


def unclear(provider: Provider, words: str) -> Answer:
    """What came back is no answer: it may have been taken, and trying again may deliver it twice."""
    reply = Reply(0, None, _short(f"{provider.label}: {words}"))
    return Answer(Outcome.UNCERTAIN, reply)


def by_status(provider: Provider, status: int, body: object) -> Answer:
    """What an HTTP status other than success means (RFC 9110 §15), with what the API said beside it.

    401, 402, 403 and 407 are about the account: every mail would get the same answer. A 504 comes from
    something between us and the API, which may have taken the mail.
    """
    words = _words(provider, status, body)
    codes = set(islice(_found(body, _CODES), _MOST_TEXTS))
    if status in _TROUBLE or codes & provider.account_errors or 300 <= status < 400:
        return _trouble(provider, words)
    if status == _TOO_MANY or codes & _THROTTLES:
        return Answer(Outcome.DEFERRED, Reply(451, _CONGESTED, words))
    if status == _GATEWAY_TIMEOUT or status < 300:
        return unclear(provider, f"answered {status}, which does not say whether it took the mail.")
    if status >= 500 or status in _LATER:
        return Answer(Outcome.DEFERRED, Reply(451, None, words))
    return Answer(Outcome.REFUSED, Reply(550, None, words))


def by_failure(provider: Provider, error: BaseException) -> Answer:
    """What it means that there was no answer: nothing left if nobody was reached, else nobody knows."""
    chain = list(_chain(error))
    names = {name for each in chain for name in _class_names(each)}
    words = _reason(chain)
    if names & _NO_CREDENTIALS or "TooManyRedirects" in names:
        return _trouble(provider, words)
    if names & _NEVER_LEFT or any(isinstance(each, ssl.SSLCertVerificationError) for each in chain):
        return _unreached(RelayUnreachable(f"{provider.label} is not reached: {words}", step="connect"))
    return Answer(Outcome.UNCERTAIN, None)


def broken(provider: Provider, error: BaseException, *, has_left: bool) -> Answer:
    """What it means that the answer, or the error behind it, broke what reads it."""
    words = f"{provider.label}: what it answered cannot be read ({type(error).__name__})."
    if has_left:
        return Answer(Outcome.UNCERTAIN, Reply(0, None, _short(words)))
    return Answer(Outcome.DEFERRED, Reply(451, None, _short(words)), has_begun=False)


def words_of_failure(error: BaseException) -> str:
    """The innermost reason of an exception, in its own words and on one line."""
    return _reason(list(_chain(error)))


def _trouble(provider: Provider, words: str) -> Answer:
    failure = RelayUnreachable(
        f"{provider.label} does not take mail from this account: {words} "
        "Correct the account's settings in Outgoing Servers, or ask the provider.",
        step="auth",
        is_permanent=True,
    )
    return _unreached(failure)


def _unreached(failure: RelayUnreachable) -> Answer:
    """The reply is ours: whoever reads the journal shall know that the mail was not taken."""
    return Answer(Outcome.UNREACHABLE, Reply(451, _NO_ANSWER, _short(str(failure))), failure)


def _words(provider: Provider, status: int, body: object) -> str:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    said = "; ".join(dict.fromkeys(islice(_found(body, _WORDS), _MOST_TEXTS)))
    head = f"{provider.label} answered {status} {phrase}".rstrip()
    return _short(f"{head}: {said}" if said else f"{head}.")


def _short(text: str) -> str:
    return one_line(text)[:_MOST_CHARACTERS]


def body_of(text: str) -> object:
    """The answer as JSON, else as the text it is; a page for people says nothing of use."""
    try:
        return json.loads(text[:_MOST_OCTETS])
    except (ValueError, RecursionError):  # RecursionError: brackets in brackets without end
        return {} if "<html" in text[:1000].lower() else {"message": text[:_MOST_CHARACTERS]}


def _found(body: object, keys: tuple[str, ...], depth: int = 0) -> Iterator[str]:
    """The texts and numbers under these keys (in any case), unless they stand deeper than any answer is."""
    if depth > _DEEPEST:
        return
    if isinstance(body, Mapping):
        for key, value in body.items():
            if str(key).lower() in keys and isinstance(value, str | int) and value != "":
                yield str(value)
            elif str(key).lower() in keys or isinstance(value, Mapping | list):
                is_list_of_errors = str(key).lower() == "errors"
                yield from _texts(value, depth + 1) if is_list_of_errors else _found(value, keys, depth + 1)
    elif isinstance(body, list):
        for each in body[:10]:
            yield from _found(each, keys, depth + 1)


def _texts(value: Any, depth: int) -> Iterator[str]:
    """What stands under “errors”: texts, lists of texts, or objects that say more."""
    if depth > _DEEPEST:
        return
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value[:10]:
            yield from _texts(each, depth + 1)
    elif isinstance(value, Mapping):
        named = list(islice(_found(value, _WORDS, depth + 1), _MOST_TEXTS))
        yield from named
        if not named:
            for each in list(value.values())[:10]:
                yield from _texts(each, depth + 1)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and everything that it says caused it, outermost first."""
    waiting, seen = [error], set[int]()
    while waiting:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        inner = (each.__cause__, each.__context__, getattr(each, "reason", None), *each.args)
        waiting.extend(one for one in inner if isinstance(one, BaseException))


def _class_names(error: BaseException) -> set[str]:
    return {klass.__name__ for klass in type(error).__mro__}


def _reason(chain: list[BaseException]) -> str:
    """The operating system's or the library's own words, which stand innermost."""
    worded = [each for each in chain if str(each).strip()]
    system = [each for each in worded if isinstance(each, OSError) and each.strerror]
    if system:
        return _short(f"{system[-1].strerror}.")
    return _short(f"{type(worded[-1]).__name__}: {worded[-1]}") if worded else type(chain[0]).__name__
