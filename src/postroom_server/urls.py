"""All addresses of the standalone product."""

from django.urls import include, path, re_path
from django.views.decorators.csrf import csrf_exempt

from postroom.api import no_such_endpoint, urls

handler500 = "postroom_server.faults.went_wrong"
urlpatterns = [
    path("api/v1/", urls),
    re_path("^api/", csrf_exempt(no_such_endpoint)),
    path("", include("postroom.web.urls")),
]
