"""Files of messages, to be downloaded."""

from __future__ import annotations

from django.core.files.storage import default_storage
from django.http import FileResponse, Http404, HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.http import require_safe

from postroom.conversations.models import Attachment
from postroom.conversations.public_links import attachment_behind
from postroom.web.membership import MemberRequest, for_members

SANDBOX = "sandbox; default-src 'none'"


@require_safe
@for_members
def attachment(request: MemberRequest, pk: int) -> HttpResponseBase:
    """A file as a download, for members."""
    return _download(get_object_or_404(Attachment, pk=pk, workspace_id=request.member.workspace_id))


@require_safe
def linked_file(request: HttpRequest, token: str) -> HttpResponseBase:
    """A file that was too large to be mailed, for whoever has the link; no login and no cookie is needed."""
    file = attachment_behind(token, timezone.now())
    try:
        response = _download(file) if file else _gone(request)
    except Http404:
        response = _gone(request)
    response["Cache-Control"] = "private, no-store"
    response["X-Robots-Tag"] = "noindex"
    response["Referrer-Policy"] = "no-referrer"
    return response


def _download(file: Attachment) -> HttpResponseBase:
    """It is somebody else's content, so it never runs or renders under our name."""
    try:
        octets = default_storage.open(file.storage_name)
    except FileNotFoundError as error:
        raise Http404 from error
    response = FileResponse(octets, as_attachment=True, filename=file.name, content_type=file.content_type)
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = SANDBOX
    return response


def _gone(request: HttpRequest) -> HttpResponseBase:
    return render(request, "postroom/link_gone.html", status=404)
