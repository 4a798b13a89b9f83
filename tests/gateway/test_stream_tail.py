"""The end of a stream is held back until its charge is committed, content never; and its usage is found wherever it stands."""

import asyncio
import json

import pytest

from gateway import stream
from outbound.transport import Broken
from tests.gateway.events import DONE, PING, USAGE, Source, content, event, finish, pumped, usage


def used(run):
    return None if run.pump.usage is None else json.loads(bytes(run.pump.usage))


async def test_the_end_is_held_until_it_is_asked_for():
    run = await pumped([content("a")], [finish()], [usage()], [DONE])
    assert run.sent == content("a")
    assert run.pump.tail() == finish() + usage() + DONE
    assert run.pump.complete
    assert used(run) == USAGE


async def test_usage_that_we_asked_for_is_hidden():
    run = await pumped([content("a"), finish(), usage(), DONE], hide_usage=True)
    assert run.all == content("a") + finish() + DONE
    assert used(run) == USAGE


async def test_hidden_usage_on_the_last_chunk_passes_with_it():
    last = finish(usage=USAGE)
    run = await pumped([content("a"), last, DONE], hide_usage=True)
    assert run.sent == content("a")
    assert run.all == content("a") + last + DONE
    assert used(run) == USAGE


async def test_content_after_a_finish_releases_it_in_order():
    run = await pumped([content("a"), finish(0), content("b", 1), finish(1), DONE])
    assert run.sent == content("a") + finish(0) + content("b", 1)
    assert run.pump.tail() == finish(1) + DONE
    assert run.pump.complete


async def test_content_in_the_last_chunk_waits_with_it():
    run = await pumped([content("a"), finish(text="b"), DONE])
    assert run.sent == content("a")
    assert run.pump.tally.text() == "ab"


async def test_the_stream_may_end_without_done():
    run = await pumped([content("a"), finish()])
    assert run.pump.complete
    assert run.all == content("a") + finish() + DONE


async def test_the_stream_may_end_with_done_alone():
    run = await pumped([content("a"), DONE])
    assert run.pump.complete
    assert run.all == content("a") + DONE


async def test_done_is_sent_once():
    run = await pumped([content("a"), finish(), DONE, DONE, content("b")])
    assert run.all.count(b"[DONE]") == 1
    assert run.all.endswith(DONE)


async def test_a_stream_that_just_stops_is_not_complete():
    run = await pumped([content("a")])
    assert not run.pump.complete
    assert run.sent == content("a")
    assert run.pump.tally.text() == "a"


async def test_a_stream_that_breaks_is_not_complete():
    run = await pumped([content("a")], then=Broken("reset"))
    assert isinstance(run.broke, Broken)
    assert not run.pump.complete


async def test_a_stream_that_breaks_after_its_finish_is_whole():
    run = await pumped([content("a"), finish()], then=Broken("reset"))
    assert run.broke is None
    assert run.pump.complete
    assert run.pump.usage is None


async def test_usage_that_never_comes_is_not_waited_for_long(monkeypatch):
    monkeypatch.setattr(stream, "USAGE_WAIT", 0.05)
    run = await pumped([content("a"), finish()], silent=True)
    assert run.pump.complete
    assert run.pump.usage is None


async def test_early_usage_is_replaced_by_later():
    run = await pumped([content("a", usage={**USAGE, "completion_tokens": 1}), content("b"), finish(), usage(), DONE])
    assert used(run) == USAGE
    assert run.sent == content("a", usage={**USAGE, "completion_tokens": 1}) + content("b")


async def test_usage_twice_counts_the_last():
    run = await pumped([content("a"), finish(), usage(completion_tokens=1), usage(completion_tokens=5), DONE])
    assert used(run)["completion_tokens"] == 5


@pytest.mark.parametrize("role", [event(choices=[{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]), event(choices=[])])
async def test_what_has_no_content_before_the_end_passes(role):
    run = await pumped([role, content("a"), role, content("b"), finish(), DONE])
    assert run.sent == role + content("a") + role + content("b")


async def test_early_usage_without_content_keeps_its_place():
    early = event(choices=[{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}], usage=USAGE)
    run = await pumped([early, content("a"), finish(), DONE])
    assert run.sent == early + content("a")


@pytest.mark.parametrize("bad", [b"data: {\n\n", b"data: not json\n\n", b"data: [1,2]\n\n", b'data: {"choices":"x"}\n\n', b"data: \xff\n\n"])
async def test_what_is_no_chunk_ends_here(bad):
    run = await pumped([content("a"), bad, content("b"), finish(), bad, DONE])
    assert run.all == content("a") + content("b") + finish() + DONE
    assert run.pump.malformed == 2


async def test_comments_pass_at_once():
    run = await pumped([PING, content("a"), finish(), PING, usage(), DONE])
    assert run.sent == PING + content("a") + PING
    assert run.pump.tail() == finish() + usage() + DONE


@pytest.mark.parametrize(
    "failure", [b'data: {"error":{"message":"overloaded"}}\n\n', b'event: error\ndata: {"error":"x"}\n\n', event(choices=[], error={"code": 1})]
)
async def test_an_error_of_the_upstream_ends_the_stream_without_success(failure):
    run = await pumped([content("a"), failure, content("b"), DONE])
    assert run.sent == content("a")
    assert run.pump.error is not None
    assert not run.pump.complete


async def test_an_error_after_the_finish_is_an_error():
    run = await pumped([content("a"), finish(), b'data: {"error":{"message":"x"}}\n\n', DONE])
    assert not run.pump.complete


async def test_done_that_shares_an_event_with_content_is_no_early_success():
    """An upstream that forgets a blank line must not make us say [DONE] before the charge."""
    glued = content("b").removesuffix(b"\n") + DONE
    run = await pumped([content("a"), glued])
    assert run.sent == content("a") + content("b")
    assert run.pump.done


async def test_text_that_says_done_is_text():
    run = await pumped([content("[DONE]"), finish(), DONE])
    assert run.sent == content("[DONE]")


async def test_of_several_choices_one_that_is_cut_makes_no_whole_answer():
    run = await pumped([content("a", 0), content("b", 1), finish(0)], then=Broken("reset"), several=True)
    assert isinstance(run.broke, Broken)
    assert not run.pump.complete


async def test_a_silent_choice_among_several_is_waited_for(monkeypatch):
    """Only a stream whose every choice has finished may be ended for silence."""
    monkeypatch.setattr(stream, "USAGE_WAIT", 0.01)

    class Slow:
        def __init__(self):
            self.batches = [[content("a", 0), content("b", 1), finish(0)], [content("c", 1)], [finish(1), DONE]]

        async def next(self):
            await asyncio.sleep(0.05)
            return self.batches.pop(0) if self.batches else []

    sent = []

    async def write(data):
        sent.append(data)

    pump = stream.Pump(Slow(), [], write, False, several=True)
    await pump.run()
    assert content("c", 1) in b"".join(sent)


async def test_what_was_read_before_comes_first():
    run = await pumped([content("b")], [finish(), DONE], first=[PING, content("a")])
    assert run.sent == PING + content("a") + content("b")


async def test_first_events_may_hold_the_whole_stream():
    run = await pumped(first=[content("a"), finish(), DONE])
    assert run.pump.done
    assert run.all == content("a") + finish() + DONE


async def test_a_drained_stream_finds_its_usage_and_writes_nothing():
    sent = []

    async def write(data):
        sent.append(data)

    pump = stream.Pump(Source([[content("b")], [finish()], [usage(), DONE]]), [content("a")], write, True)
    await pump.drain()
    assert sent == []
    assert json.loads(bytes(pump.usage)) == USAGE
    assert pump.tally.text() == "ab"
