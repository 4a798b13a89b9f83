"""Pages of a signed-in user."""

from django.urls import path

from gateway import portal, portal_budgets, portal_redeem, portal_statement

app_name = "portal"
urlpatterns = [
    path("", portal.home, name="home"),
    path("portal/redeem", portal_redeem.redeem_page, name="redeem"),
    path("portal/tokens/", portal.tokens, name="tokens"),
    path("portal/tokens/<int:token_id>/revoke", portal.revoke, name="revoke"),
    path("portal/tokens/<int:token_id>/reveal", portal.reveal, name="reveal"),
    path("portal/tokens/<int:token_id>/budgets", portal_budgets.token_budgets, name="token_budgets"),
    path("portal/tokens/<int:token_id>/statement", portal_statement.token_statement, name="token_statement"),
    path("portal/statement", portal_statement.wallet_statement, name="statement"),
    path("portal/usage/", portal.usage, name="usage"),
    path("portal/usage/<uuid:record_id>", portal.usage_record, name="usage_record"),
]
