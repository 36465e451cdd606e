"""Files of messages, to be downloaded."""

from __future__ import annotations

from django.core.files.storage import default_storage
from django.http import FileResponse, Http404, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_safe

from postroom.conversations.models import Attachment
from postroom.web.membership import MemberRequest, for_members

SANDBOX = "sandbox; default-src 'none'"


@require_safe
@for_members
def attachment(request: MemberRequest, pk: int) -> HttpResponseBase:
    """A file as a download: it is somebody else's content, so it never runs or renders under our name."""
    file = get_object_or_404(Attachment, pk=pk, workspace_id=request.member.workspace_id)
    try:
        octets = default_storage.open(file.storage_name)
    except FileNotFoundError as error:
        raise Http404 from error
    response = FileResponse(octets, as_attachment=True, filename=file.name, content_type=file.content_type)
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = SANDBOX
    return response
