"""What allauth may do here: sign-in, but no open sign-up; the operator creates users."""

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest


class AccountAdapter(DefaultAccountAdapter):
    """Sign-up is closed until invitations are built."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False
