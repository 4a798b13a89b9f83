"""Groups and their ratio, users and their passwords, in the admin."""

import pytest
from django.urls import reverse

from accounts.models import Group, User
from tests.console.rows import person, signed_in, superuser

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("entered", "kept", "shown"), [("1", 1_000_000, "×1.0"), ("0.8", 800_000, "×0.8"), ("1.000001", 1_000_001, "×1.000001"), ("0", 0, "×0.0")]
)
def test_a_ratio_is_a_factor(entered: str, kept: int, shown: str) -> None:
    client = signed_in(superuser())
    assert client.post(reverse("admin:accounts_group_add"), {"name": "vip", "ratio_ppm": entered}).status_code == 302
    assert Group.objects.get(name="vip").ratio_ppm == kept
    assert shown in client.get(reverse("admin:accounts_group_changelist")).content.decode()


@pytest.mark.parametrize("entered", ["-1", "1001", "0.0000001", "x", ""])
def test_a_ratio_that_is_none_is_refused(entered: str) -> None:
    answer = signed_in(superuser()).post(reverse("admin:accounts_group_add"), {"name": "vip", "ratio_ppm": entered})
    assert answer.context["adminform"].form.errors["ratio_ppm"]


def test_the_group_default_keeps_its_name() -> None:
    group = Group.objects.get(name="default")
    answer = signed_in(superuser()).post(reverse("admin:accounts_group_change", args=[group.pk]), {"name": "other", "ratio_ppm": "1"})
    assert answer.context["adminform"].form.errors["name"]


def test_a_user_is_added_with_a_password_that_works() -> None:
    form = {
        "username": "alice", "email": "a@example.com", "group": Group.objects.get(name="default").pk, "usable_password": "true",
        "password1": "a long enough one 1", "password2": "a long enough one 1",
    }  # fmt: skip
    assert signed_in(superuser()).post(reverse("admin:accounts_user_add"), form).status_code == 302
    assert User.objects.get(username="alice").check_password("a long enough one 1")


def test_a_password_is_changed() -> None:
    alice = person("alice")
    form = {"password1": "quite another one 1", "password2": "quite another one 1", "usable_password": "true"}
    assert signed_in(superuser()).post(reverse("admin:auth_user_password_change", args=[alice.pk]), form).status_code == 302
    assert User.objects.get(pk=alice.pk).check_password("quite another one 1")


def test_a_deleted_user_is_kept_but_gone() -> None:
    alice = person("alice")
    client = signed_in(superuser())
    client.post(reverse("admin:accounts_user_changelist"), {"action": "tombstone", "_selected_action": [alice.pk]})
    alice.refresh_from_db()
    assert alice.deleted_at is not None
    assert not alice.is_active
    assert "alice" not in client.get(reverse("admin:accounts_user_changelist")).content.decode()
