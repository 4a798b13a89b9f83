"""Sign-in, second factor, password: allauth's pages below /accounts/, in our own design (templates/account, templates/allauth)."""

from django.urls import include, path

urlpatterns = [path("", include("allauth.urls"))]
