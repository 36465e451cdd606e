"""The API alone."""

from django.urls import path

from postroom.api import api

urlpatterns = [path("api/v1/", api.urls)]
