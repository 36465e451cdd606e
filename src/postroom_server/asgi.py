"""The ASGI application of the standalone product."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "postroom_server.settings")
application = get_asgi_application()
