"""Folds the mail that a reply quotes, so that the timeline shows what is new."""

from __future__ import annotations

import re

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

_TAG = re.compile(r"<(/?)blockquote\b[^>]*>", re.IGNORECASE)


def fold_quotes(body: str, label: str) -> SafeString:
    """Put every outermost <blockquote> of a sanitised body behind a <details> named `label`.

    Unbalanced quotes are left as they are: the sanitiser balances its output, so there are none from us.
    """
    start = format_html('<details class="quoted"><summary>{}</summary>', label)
    pieces, depth, at = [], 0, 0
    for tag in _TAG.finditer(body):
        is_end = bool(tag[1])
        if is_end and depth == 0:
            return mark_safe(body)
        depth += -1 if is_end else 1
        if not is_end and depth == 1:
            pieces += [body[at : tag.start()], start, tag[0]]
            at = tag.end()
        elif is_end and depth == 0:
            pieces += [body[at : tag.end()], "</details>"]
            at = tag.end()
    if depth:
        return mark_safe(body)
    return mark_safe("".join([*pieces, body[at:]]))
