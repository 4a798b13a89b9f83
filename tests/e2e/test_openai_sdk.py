"""The official `openai` SDK through the real server: chat, streams, tools, structured output, embeddings, errors; sync and async."""

import json

import openai
import pydantic
import pytest

from tests.e2e.arrange import MODEL, UPSTREAM_KEY, add_channel, add_token, add_user, await_key

pytestmark = pytest.mark.slow
MESSAGES = [{"role": "user", "content": "Say hello."}]
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
}


@pytest.fixture(scope="module")
def key(server, simulator):
    """A token of a server whose channel is the simulator."""
    add_channel(server, simulator.url, models=f"{MODEL},text-embedding-3-small,omni-moderation-latest,gpt-3.5-turbo-instruct")
    return await_key(server, add_token(server))


@pytest.fixture
def sdk(server, key):
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)
    yield client
    client.close()


def test_chat(sdk):
    answer = sdk.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (20, 15)
    assert answer._request_id


def test_a_stream_ends_with_usage_where_it_was_asked_for(sdk):
    chunks = list(sdk.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == 35


def test_a_stream_hides_the_usage_that_we_asked_for(sdk, upstream):
    chunks = list(sdk.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True))
    assert all(chunk.choices for chunk in chunks)
    assert all(chunk.usage is None for chunk in chunks)
    assert upstream.requests[-1].json["stream_options"] == {"include_usage": True}


def test_tools(sdk):
    answer = sdk.chat.completions.create(model=MODEL, messages=MESSAGES, tools=[WEATHER], tool_choice="required")
    call = answer.choices[0].message.tool_calls[0]
    assert call.function.name == "weather"
    assert isinstance(json.loads(call.function.arguments), dict)


def test_streamed_tools(sdk):
    chunks = list(sdk.chat.completions.create(model=MODEL, messages=MESSAGES, tools=[WEATHER], tool_choice="required", stream=True))
    pieces = [call for chunk in chunks if chunk.choices for call in chunk.choices[0].delta.tool_calls or []]
    assert pieces[0].function.name == "weather"
    assert isinstance(json.loads("".join(piece.function.arguments or "" for piece in pieces)), dict)


def test_structured_output(sdk):
    class City(pydantic.BaseModel):
        name: str
        inhabitants: int

    parsed = sdk.chat.completions.parse(model=MODEL, messages=MESSAGES, response_format=City).choices[0].message.parsed
    assert isinstance(parsed, City)


def test_legacy_completions(sdk):
    assert sdk.completions.create(model="gpt-3.5-turbo-instruct", prompt="Say hello.").choices[0].text
    assert list(sdk.completions.create(model="gpt-3.5-turbo-instruct", prompt="Say hello.", stream=True))


def test_embeddings(sdk):
    answer = sdk.embeddings.create(model="text-embedding-3-small", input=["one", "two"], encoding_format="float")
    assert [item.index for item in answer.data] == [0, 1]


def test_moderations(sdk):
    assert sdk.moderations.create(model="omni-moderation-latest", input="hello").results[0].flagged is False


def test_one_model(sdk):
    assert sdk.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError):
        sdk.models.retrieve("no-such-model")


async def test_async_chat_and_stream(server, key):
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as sdk:
        answer = await sdk.chat.completions.create(model=MODEL, messages=MESSAGES)
        assert answer.choices[0].message.content
        stream = await sdk.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
        assert [chunk async for chunk in stream][-1].choices[0].finish_reason == "stop"


def test_error_classes(server, sdk, upstream):
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk-wrong", max_retries=0).chat.completions.create(model=MODEL, messages=MESSAGES)
    with pytest.raises(openai.NotFoundError):
        sdk.chat.completions.create(model="no-such-model", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError):
        sdk.chat.completions.create(model=MODEL, messages=MESSAGES, n=1000)
    add_user(server, "poor")
    poor = openai.OpenAI(base_url=f"{server.url}/v1", api_key=await_key(server, add_token(server, "poor")), max_retries=0)
    with pytest.raises(openai.PermissionDeniedError, match="balance is not enough"):
        poor.chat.completions.create(model=MODEL, messages=MESSAGES)
    for status, kind in ((429, openai.RateLimitError), (500, openai.InternalServerError), (400, openai.BadRequestError)):
        upstream.fault(model=MODEL, status=status)
        with pytest.raises(kind):
            sdk.chat.completions.create(model=MODEL, messages=MESSAGES)
        upstream.reset()


def test_a_failure_in_mid_stream_raises_and_is_no_success(sdk, upstream):
    upstream.fault(model=MODEL, error_in_stream=2)
    with pytest.raises(openai.APIError):
        list(sdk.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True))
    upstream.reset()


def test_the_upstreams_key_and_host_never_reach_the_client(sdk, upstream):
    told = f"Incorrect API key {UPSTREAM_KEY} at {upstream.url}/v1 for organization org-AbCdEf123456"
    upstream.fault(model=MODEL, status=401, error={"message": told, "type": "invalid_request_error", "code": "invalid_api_key"})
    with pytest.raises(openai.AuthenticationError) as error:
        sdk.chat.completions.create(model=MODEL, messages=MESSAGES)
    upstream.reset()
    for secret in (UPSTREAM_KEY, upstream.url.removeprefix("http://"), "org-AbC"):
        assert secret not in str(error.value)


def test_a_large_image_message_passes(sdk, upstream):
    image = "data:image/png;base64," + "A" * (50 * 2**20)
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": image, "detail": "low"}}]
    answer = sdk.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": content}])
    assert answer.choices[0].message.content
    assert len(upstream.requests[-1].body) > 50 * 2**20
