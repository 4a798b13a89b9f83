"""What is done to channels outside the admin's form: added with everything checked, given keys, switched on and off, found."""

import pytest
from django.core.exceptions import ValidationError

from accounts.models import Group
from channels_app.channels import add_channel, disable_channel, enable_channel, find_channel, set_keys
from channels_app.models import Channel, ChannelKey, ChannelState

pytestmark = pytest.mark.django_db
URL = "https://api.example/v1"


def added(name="main", provider="custom", **more):
    values = {"base_url": URL, "keys": ["sk-first-key-0001"], "models": ["m"], **more}
    return add_channel(provider, name, **values)


def secrets(channel):
    return [key.secret for key in channel.keys.order_by("pk")]


def test_a_channel_is_added_enabled_with_all_that_was_said():
    group = Group.objects.create(name="blue")
    made = added(
        " main ",
        models=["a", " b ", "a", ""],
        groups=[group],
        mapping={"a": "x"},
        priority=3,
        weight=7,
        settings={"timeouts": {"first": 2.5, "gap": None}, "transport": "aiohttp"},
        test_model="b",
    )
    made = Channel.objects.get(pk=made.pk)
    assert (made.name, made.base_url, made.enabled, made.model_names) == ("main", URL, True, ["a", "b"])
    assert (made.mapping, made.priority, made.weight, made.settings, made.test_model) == (
        {"a": "x"},
        3,
        7,
        {"timeouts": {"first": 2.5, "gap": None}, "transport": "aiohttp"},
        "b",
    )
    assert list(made.groups.all()) == [group]


def test_without_models_it_gets_the_providers_own():
    assert "gpt-4o-mini" in added(provider="openai", base_url="", models=[]).model_names


def test_the_echo_provider_needs_neither_key_nor_address():
    made = added(provider="echo", base_url="", keys=[], models=[])
    assert (made.model_names, secrets(made)) == (["echo"], [])


def test_keys_are_encrypted_and_shown_by_their_end_only():
    key = added(keys=["sk-first-key-0001", "  ", " sk-first-key-0001 "]).keys.get()
    stored = ChannelKey.objects.filter(pk=key.pk).extra(select={"raw": "secret"}).values_list("raw", flat=True)[0]
    assert (key.secret, key.hint, str(key)) == ("sk-first-key-0001", "0001", "…0001")
    assert "sk-first" not in stored


def test_a_short_key_shows_nothing_of_itself():
    assert added(keys=["secret"]).keys.get().hint == ""


@pytest.mark.parametrize(
    "change",
    [
        {"provider": "no-such-provider"},
        {"keys": []},
        {"keys": [" ", ""]},
        {"base_url": ""},
        {"name": ""},
        {"name": "x" * 101},
        {"weight": -1},
        {"weight": 1_000_001},
        {"mapping": {"a": 1}},
        {"mapping": {"": "b"}},
        {"mapping": {"a": ""}},
        {"mapping": {"a": ["b"]}},
        {"settings": {"api_base": "https://evil.example"}},
        {"settings": {"transport": "httpx"}},
        {"settings": {"timeouts": 5}},
        {"settings": {"timeouts": {"first": "5"}}},
        {"settings": {"timeouts": {"first": True}}},
        {"settings": {"timeouts": {"first": 0}}},
        {"settings": {"timeouts": {"gap": -1}}},
        {"settings": {"timeouts": {"total": float("nan")}}},
        {"settings": {"timeouts": {"total": 1e9}}},
        {"settings": {"timeouts": {"read": 5}}},
    ],
    ids=str,
)
def test_what_is_wrong_is_refused_whole(change):
    with pytest.raises(ValidationError):
        added(**change)
    assert not Channel.objects.exists()
    assert not ChannelKey.objects.exists()


@pytest.mark.parametrize(
    "base_url",
    [
        "api.example/v1",
        "ftp://api.example",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://",
        "https:///v1",
        "https://user:word@api.example",
        "https://api.example@evil.example",
        "https://api.example/v1?key=1",
        "https://api.example/v1#x",
        "https://api.example#@evil.example",
        "https://api.example/a b",
        "https://api.example/\nv1",
        "https://api.example/\u202ev1",
        "https://api.example:99999",
        "https://api.example:0",
        "https://[::1",
        "http://169.254.169.254/latest",
        "http://metadata.google.internal",
        "http://[fe80::1]",
        "http://0.0.0.0",
        "http://[::ffff:169.254.169.254]",
        "https://" + "a" * 500 + ".example",
    ],
)
def test_a_base_url_that_nobody_may_mean_is_refused(base_url):
    with pytest.raises(ValidationError):
        added(base_url=base_url)
    assert not Channel.objects.exists()


@pytest.mark.parametrize(
    ("base_url", "saved"),
    [
        (" https://api.example/v1/ ", "https://api.example/v1"),
        ("http://127.0.0.1:3100", "http://127.0.0.1:3100"),
        ("http://localhost:11434/v1", "http://localhost:11434/v1"),
        ("http://10.0.0.7", "http://10.0.0.7"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_base_url_may_be_anywhere_else_and_loses_its_last_slash(base_url, saved):
    assert added(base_url=base_url).base_url == saved


def test_two_channels_cannot_share_a_name_but_a_deleted_one_gives_it_back():
    first = added()
    with pytest.raises(ValidationError):
        added()
    Channel.objects.filter(pk=first.pk).update(deleted_at="2026-01-01T00:00:00Z")
    assert added() == find_channel("main") != first


def test_new_keys_take_the_place_of_the_old_ones_and_keys_that_stay_keep_their_state():
    made = added(keys=["key-number-1", "key-number-2"])
    state = ChannelState.objects.create(channel=made, key=made.keys.get(hint="er-2"), status="disabled", reason="dead")
    set_keys(made, ["key-number-2", "key-number-3"])
    assert secrets(made) == ["key-number-2", "key-number-3"]
    state.refresh_from_db()
    assert state.status == "disabled"


def test_keys_can_be_added_to_the_old_ones():
    made = added(keys=["key-number-1"])
    set_keys(made, ["key-number-1", "key-number-2"], keep=True)
    assert secrets(made) == ["key-number-1", "key-number-2"]


def test_enabling_clears_what_the_machine_noted_of_the_channel_and_its_keys():
    made = added()
    for key in (None, made.keys.get()):
        ChannelState.objects.create(channel=made, key=key, status="disabled", reason="dead", response_ms=5)
    disable_channel(made)
    enable_channel(made)
    made.refresh_from_db()
    assert (made.enabled, made.version) == (True, 2)
    assert set(made.states.values_list("status", "reason", "response_ms")) == {("ok", "", 5)}


def test_disabling_leaves_what_the_machine_noted():
    made = added()
    ChannelState.objects.create(channel=made, status="disabled", reason="dead")
    disable_channel(made)
    made.refresh_from_db()
    assert (made.enabled, made.states.get().reason) == (False, "dead")


def test_a_channel_is_found_by_name_or_id_and_by_name_first():
    first = added("main")
    named_like_an_id = added(str(first.pk))
    assert find_channel("main") == first
    assert find_channel(str(first.pk)) == named_like_an_id
    assert find_channel(str(named_like_an_id.pk)) == named_like_an_id


@pytest.mark.parametrize("name", ["", "none", "0", "99999", "-1", "1.5", "²"])
def test_what_is_not_there_is_not_found(name):
    added()
    with pytest.raises(Channel.DoesNotExist):
        find_channel(name)
