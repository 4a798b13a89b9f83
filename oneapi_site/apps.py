"""The app's registration with Django: its checks, and the Celery app for whoever sends a task."""

from django.apps import AppConfig

from oneapi_site import celery, checks

__all__ = ["SiteConfig", "celery", "checks"]


class SiteConfig(AppConfig):
    name = "oneapi_site"
