"""The ASGI application that uvicorn loads; what it is made of stands in oneapi_site/planes.py."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "oneapi_site.settings")
console = get_asgi_application()

from oneapi_site.planes import build  # noqa: E402  it reads models: Django must be set up

application = build(console)
