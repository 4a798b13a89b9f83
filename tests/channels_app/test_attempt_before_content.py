"""What an upstream does before its first content decides whether, and why, another channel is tried."""

import pytest

from outbound.transport import Timeouts
from tests.channels_app.asking import channel, failure_of, fault_of_the_client, streamed

BRIEF = Timeouts(connect=2.0, first=0.4, gap=30.0, total=60.0)


async def test_silence_after_the_role_is_bounded_by_the_first_token_timeout(upstream):
    upstream.fault(stall_after=0)
    failure = await failure_of(channel(upstream.url), streamed(), BRIEF)
    assert failure.verdict.kind == "timeout"


async def test_an_end_without_content_is_empty(upstream):
    upstream.fault(empty=True)
    assert (await failure_of(channel(upstream.url), streamed())).verdict.kind == "empty"


@pytest.mark.parametrize(("code", "kind"), [("invalid_api_key", "key_dead"), ("insufficient_quota", "no_credit")])
async def test_an_error_event_means_what_the_error_would_mean_as_a_status(upstream, code, kind):
    upstream.fault(error_in_stream=0, error={"message": "no", "type": "invalid_request_error", "code": code, "param": None})
    assert (await failure_of(channel(upstream.url), streamed())).verdict.kind == kind


async def test_a_mistake_of_the_clients_is_not_tried_elsewhere(upstream):
    upstream.fault(status=400)
    assert (await fault_of_the_client(channel(upstream.url), streamed())).status == 400
