"""The floor for a Python relay: forwards bytes to the mock upstream, and does nothing else.

No keys, no ledger, no choice of channel. Its CPU per request, measured in the same run, is the unit of the speed targets:
a machine may be twice as slow as another, the ratio stays.

    UPSTREAM=http://127.0.0.1:3100 uvicorn --app-dir tests/load/bare app:app --port 3101 --no-access-log --log-level warning
"""

import os

import aiohttp

UPSTREAM = os.environ.get("UPSTREAM", "http://127.0.0.1:3100")


class Relay:
    def __init__(self):
        self.session = None

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            return await self.lifespan(receive, send)
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {"content-type": "application/json", "authorization": "Bearer sk-upstream"}
        async with self.session.post(UPSTREAM + scope["path"], data=body, headers=headers) as answer:
            content_type = answer.headers["content-type"].encode()
            if b"event-stream" in content_type:
                await send({"type": "http.response.start", "status": answer.status, "headers": [(b"content-type", content_type)]})
                async for chunk in answer.content.iter_any():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
            else:
                content = await answer.read()
                length = str(len(content)).encode()
                await send(
                    {
                        "type": "http.response.start",
                        "status": answer.status,
                        "headers": [(b"content-type", content_type), (b"content-length", length)],
                    }
                )
                await send({"type": "http.response.body", "body": content})

    async def lifespan(self, receive, send):
        await receive()
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.session.close()
        await send({"type": "lifespan.shutdown.complete"})


app = Relay()
