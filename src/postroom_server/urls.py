"""All addresses of the standalone product."""

from django.urls import include, path, re_path
from django.views.decorators.csrf import csrf_exempt

from postroom.api import api, no_such_endpoint

urlpatterns = [
    path("api/v1/", api.urls),
    re_path("^api/", csrf_exempt(no_such_endpoint)),
    path("", include("postroom.web.urls")),
]
