"""A member over WebSocket, of Python's websockets, that pings. See interop_web_test.go."""
import asyncio
import json
import sys

import websockets

url, seconds = sys.argv[1], float(sys.argv[2])


async def main():
    async with websockets.connect(
        url, subprotocols=["tcproom.json"], ping_interval=0.2, ping_timeout=2
    ) as ws:
        await ws.send(json.dumps({"type": "hello", "name": "python"}))
        pongs = 0

        async def ping():
            nonlocal pongs
            while True:
                await (await ws.ping())
                pongs += 1
                await asyncio.sleep(0.1)

        pinging = asyncio.create_task(ping())
        loop = asyncio.get_running_loop()
        until, received = loop.time() + seconds, 0
        async for text in ws:
            event = json.loads(text)
            if event["type"] != "message":
                continue
            received += 1
            await ws.send(json.dumps({"type": "message", "body": event["body"]}))
            if loop.time() > until:
                break
        pinging.cancel()
    print(json.dumps({"received": received, "pongs": pongs, "code": ws.close_code}))


asyncio.run(main())
