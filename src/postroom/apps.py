"""The one Django app: label `postroom`, one migration history."""

from django.apps import AppConfig


class PostroomConfig(AppConfig):
    """Add `postroom` to INSTALLED_APPS; nothing else is needed."""

    name = "postroom"
    label = "postroom"
    default_auto_field = "django.db.models.BigAutoField"
