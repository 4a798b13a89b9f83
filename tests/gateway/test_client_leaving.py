"""A client that leaves is noticed: while it is served, or when it is asked for."""

import asyncio

import pytest

from gateway.call import Call
from tests.gateway.asgi_client import Client, scope_of


def called():
    client = Client([b""])
    return client, Call(scope_of("POST", "/v1/x", {}, "192.0.2.1"), client.receive, client.send, "/v1/x")


async def test_a_watched_call_is_cancelled_when_its_client_leaves():
    client, call = called()
    await call.body(10)
    call.watch()
    client.gone.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(30)
    asyncio.current_task().uncancel()
    assert call.gone


async def test_a_call_that_is_watched_no_more_goes_on():
    client, call = called()
    await call.body(10)
    call.watch()
    await asyncio.sleep(0)
    call.unwatch()
    client.gone.set()
    await asyncio.sleep(0.01)
    assert not call.gone


async def test_whether_a_client_left_is_asked_without_waiting():
    client, call = called()
    await call.body(10)
    assert not call.left()
    assert not call.left()
    client.gone.set()
    assert call.left()
    assert call.left()
