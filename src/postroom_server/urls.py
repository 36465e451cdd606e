"""All addresses of the standalone product."""

from django.urls import include, path

from postroom.api import api

urlpatterns = [
    path("api/v1/", api.urls),
    path("", include("postroom.web.urls")),
]
