"""The operator's commands are an interface for scripts: verbs and flags, one key alone on its line, JSON, exit codes."""

import io
import json
import re

import pytest
from django.core.management import call_command

from accounts.models import User
from billing.models import ModelPrice, PriceRule, RedeemCode
from billing.wallets import balance_of
from channels_app.models import Channel, ChannelState
from gateway.models import Token

pytestmark = pytest.mark.django_db
CHANNEL = (
    "--provider", "openai", "--name", "mock", "--base-url", "http://127.0.0.1:3100", "--key", "sk-upstream-secret", "--models", "gpt-4o-mini",
)  # fmt: skip


def run(*words):
    """Standard output of a command."""
    output = io.StringIO()
    call_command(*words, stdout=output, stderr=output)
    return output.getvalue()


def fail(*words):
    """Exit code, standard output and standard error of a command that ends early."""
    output, errors = io.StringIO(), io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command(*words, stdout=output, stderr=errors)
    return ended.value.code, output.getvalue(), errors.getvalue()


@pytest.fixture
def alice():
    run("user", "add", "--user", "alice", "--password", "a long enough one", "--group", "default")
    return User.objects.get(username="alice")


def test_a_token_is_issued_and_its_key_stands_alone_on_its_line(alice):
    printed = run("token", "add", "--user", "alice", "--name", "t", "--usd", "5", "--models", "a,b")

    assert re.fullmatch(r"sk-[A-Za-z0-9]{48}\n", printed)
    token = Token.objects.get(name="t")
    assert (token.user, token.allowed_models, token.unlimited) == (alice, ["a", "b"], False)


def test_a_token_is_unlimited_only_if_that_is_said(alice):
    assert json.loads(run("token", "add", "--user", str(alice.pk), "--name", "t", "--unlimited", "--json"))["key"].startswith("sk-")
    assert Token.objects.get(name="t").unlimited


def test_token_names_are_unique_a_user(alice):
    run("token", "add", "--user", "alice", "--name", "t", "--unlimited")

    code, _, error = fail("token", "add", "--user", "alice", "--name", "t", "--unlimited")

    assert code == 1
    assert error.strip()


def test_a_revoked_token_is_disabled_and_lists_without_its_key(alice):
    key = run("token", "add", "--user", "alice", "--name", "t", "--unlimited").strip()

    run("token", "revoke", "--user", "alice", "--token", "t")

    (listed,) = json.loads(run("token", "list", "--user", "alice", "--json"))
    assert listed["enabled"] is False
    assert key not in run("token", "list")


def test_a_token_name_of_two_users_asks_whose(alice):
    run("user", "add", "--user", "bob", "--password", "a long enough one")
    for user in ("alice", "bob"):
        run("token", "add", "--user", user, "--name", "t", "--unlimited")

    assert "Several users have a token t" in fail("token", "revoke", "--token", "t")[2]


def test_a_channel_is_added_with_all_that_was_named_and_its_key_is_never_shown():
    groups = ("--priority", "7", "--weight", "3", "--groups", "default", "--mapping", '{"a": "b"}', "--provider-settings", "{}")

    printed = run("channel", "add", *CHANNEL, *groups)

    channel = Channel.objects.get(pk=int(printed))
    assert (channel.priority, channel.weight, channel.mapping, channel.model_names) == (7, 3, {"a": "b"}, ["gpt-4o-mini"])
    assert [group.name for group in channel.groups.all()] == ["default"]
    assert [key.secret for key in channel.keys.all()] == ["sk-upstream-secret"]
    assert "sk-upstream-secret" not in run("channel", "list") + run("channel", "list", "--json")


def test_a_channel_is_disabled_and_enabled_by_name_or_id():
    pk = run("channel", "add", *CHANNEL).strip()

    run("channel", "disable", "--channel", "mock")
    assert not Channel.objects.get(pk=pk).enabled
    run("channel", "enable", "--channel", pk)
    assert Channel.objects.get(pk=pk).enabled


def test_enabling_clears_the_automatic_status():
    channel = Channel.objects.get(pk=int(run("channel", "add", *CHANNEL)))
    ChannelState.objects.create(channel=channel, status=ChannelState.Status.DISABLED, reason="out of credit")

    run("channel", "enable", "--channel", "mock")

    assert ChannelState.objects.get(channel=channel, key=None).status == ChannelState.Status.OK


def test_money_is_credited_exactly_and_once_for_an_idempotency_key(alice):
    for _ in range(2):
        run("user", "credit", "--user", "alice", "--usd", "10.000000001", "--idempotency-key", "invoice 1")

    assert balance_of(alice) == 10_000_000_001
    (listed,) = json.loads(run("user", "list", "--user", "alice", "--json"))
    assert listed["balance_nanodollars"] == 10_000_000_001


def test_a_user_is_banned_and_let_in_again(alice):
    run("user", "disable", "--user", "alice")
    assert not User.objects.get(pk=alice.pk).is_active
    run("user", "enable", "--user", "alice")
    assert User.objects.get(pk=alice.pk).is_active


def test_codes_are_minted_one_a_line_and_not_listed_unless_asked():
    codes = run("redeem", "mint", "--count", "10", "--usd", "5", "--batch", "shop").splitlines()

    assert len(set(codes)) == 10
    assert RedeemCode.objects.filter(batch="shop", amount=5 * 10**9).count() == 10
    assert not any(code in run("redeem", "list") for code in codes)
    assert all(code in run("redeem", "list", "--reveal") for code in codes)


def test_a_price_is_set_per_million_tokens_and_keeps_what_is_not_named():
    run("price", "set", "--model", "m", "--input", "0.15", "--output", "0.6", "--cached", "0.075")
    run("price", "set", "--model", "m", "--output", "0.7")

    price = ModelPrice.objects.get(model="m")
    assert (price.input, price.cached, price.output, price.source) == (150_000_000, 75_000_000, 700_000_000, "operator")


def test_a_rule_stands_beside_the_list_and_only_a_scheduled_one_is_dropped():
    run("price", "set", "--model", "m", "--input", "1", "--output", "2")
    now = int(run("price", "set", "--model", "m", "--group", "default", "--ratio", "80"))
    later = int(run("price", "set", "--model", "*", "--ratio", "120", "--from", "2999-01-01"))

    assert [rule["id"] for rule in json.loads(run("price", "rules", "--model", "m", "--json"))] == [later, now]
    assert "not begun" in fail("price", "drop", "--rule", str(now))[2]
    run("price", "drop", "--rule", str(later))
    assert list(PriceRule.objects.values_list("pk", "ratio_ppm")) == [(now, 800_000)]
    assert ModelPrice.objects.get(model="m").input == 10**9


def test_a_price_is_calculated_as_the_relay_would_charge_it():
    run("price", "set", "--model", "m", "--input", "1", "--output", "2", "--per-request", "0.01")
    run("price", "set", "--model", "m", "--ratio", "150", "--from", "2999-01-01")
    words = ("price", "calculate", "--model", "m", "--input", "1000", "--output", "500", "--json")

    today, then = json.loads(run(*words)), json.loads(run(*words, "--at", "2999-01-02"))

    assert (today["usd"], today["cost_usd"], today["margin_usd"]) == ("0.012", "0.012", "0.00")
    assert [(line["bucket"], line["units"], line["usd"]) for line in today["lines"]] == [
        ("input", 1000, "0.001"), ("output", 500, "0.001"), ("requests", 1, "0.01")
    ]  # fmt: skip
    assert (then["usd"], then["cost_usd"], then["margin_usd"]) == ("0.018", "0.012", "0.006")


WRONG = [
    (("user", "credit", "--user", "nobody", "--usd", "1"), "There is no user nobody."),
    (("user", "credit", "--user", "alice", "--usd", "much"), ""),
    (("user", "add", "--user", "alice"), "exists already"),
    (("user", "add", "--user", "carol", "--group", "gold"), "There is no group gold; there are: default."),
    (("token", "add", "--user", "nobody", "--name", "t", "--unlimited"), "There is no user nobody."),
    (("token", "add", "--user", "alice", "--name", "t", "--usd", "-1"), ""),
    (("token", "add", "--user", "alice", "--name", "t", "--unlimited", "--subnets", "home"), "home"),
    (("token", "revoke", "--token", "none"), "There is no token none."),
    (("channel", "disable", "--channel", "none"), "There is no channel none."),
    (("channel", "add", "--provider", "openai", "--name", "x", "--base-url", "http://169.254.169.254", "--key", "k"), ""),
    (("redeem", "mint", "--count", "0", "--usd", "5"), ""),
    (("price", "set", "--model", "new", "--input", "1"), "new has no price yet: give --input and --output."),
    (("price", "set", "--model", "new", "--input", "-1", "--output", "1"), "A price cannot be negative."),
    (("price", "set", "--model", "m", "--ratio", "80", "--input", "1"), "not both"),
    (("price", "set", "--model", "m", "--ratio", "much"), "A ratio is a number of per cent"),
    (("price", "set", "--model", "m", "--group", "default", "--input", "1"), "--input and --output"),
    (("price", "set", "--model", "m", "--group", "gold", "--ratio", "50"), "There is no group gold."),
    (("price", "set", "--model", "m", "--channel", "none", "--ratio", "50"), "There is no channel none."),
    (("price", "set", "--model", "m", "--cost", "--group", "default", "--ratio", "50"), "does not depend on the caller's group"),
    (("price", "set", "--model", "*", "--cost", "--input", "1", "--output", "1"), "A rule for all models is a --ratio"),
    (("price", "drop", "--rule", "1"), "There is no rule of this id that has not begun yet."),
    (("price", "calculate", "--model", "none"), "none has no price."),
    (("price", "calculate", "--model", "m", "--input", "-1"), "'input' must be a whole number"),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG, ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "")
def test_an_error_is_a_sentence_exit_code_1_and_json_if_asked(alice, words, sentence):
    code, output, error = fail(*words)
    assert (code, output) == (1, "")
    assert sentence in error
    assert error.strip()

    code, output, _ = fail(*words, "--json")
    assert code == 1
    assert json.loads(output)["error"] == error.strip()


def test_budgets_are_set_listed_and_removed(alice):
    run("token", "add", "--user", "alice", "--name", "t", "--unlimited")
    run("budget", "set", "--user", "alice", "--day", "2.5", "--month", "40")
    printed = run("budget", "set", "--token", "t", "--user", "alice", "--week", "1")
    assert printed.splitlines()[1].split()[:7] == ["token", str(Token.objects.get().pk), "t", "alice", "week", "1.00", "0.00"]
    listed = json.loads(run("budget", "list", "--json"))
    assert [(row["of"], row["name"], row["period"], row["usd"]) for row in listed] == [
        ("user", "alice", "day", "2.50"), ("user", "alice", "month", "40.00"), ("token", "t", "week", "1.00"),
    ]  # fmt: skip
    left = json.loads(run("budget", "set", "--user", "alice", "--month", "none", "--json"))
    assert [(row["period"], row["remaining_nanodollars"]) for row in left] == [("day", 2_500_000_000)]


@pytest.mark.parametrize("words", [("--day", "1"), ("--user", "alice"), ("--user", "alice", "--day", "-1"), ("--user", "alice", "--day", "much")])
def test_a_budget_that_says_too_little_or_nonsense_is_refused(alice, words):
    assert fail("budget", "set", *words)[0] == 1
    assert run("budget", "list", "--json").strip() == "[]"
