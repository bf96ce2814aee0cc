"""A small chat client, which the tests beside it are for.

It speaks lines of JSON, and comes back when it has lost its connection.
"""
import json
import socket
import time


class Chat:
    def __init__(self, address, name, retry=0.02, tries=50):
        self.address, self.name, self.retry, self.tries = address, name, retry, tries
        self.sock = None
        self._connect()

    def say(self, body):
        """Sends a message. One that was sent as the connection broke may be lost."""
        self._send({"type": "message", "body": body})

    def receive(self):
        """Returns who sent the next message, and its body."""
        while True:
            event = self._read()
            if event is None:
                self._connect()
            elif event["type"] == "message":
                return event.get("from", {}).get("name", "*"), event["body"]

    def close(self):
        if self.sock is not None:
            self.lines.close()
            self.sock.close()
            self.sock = None

    def _connect(self):
        """Returns when the room has let the client in."""
        for _ in range(self.tries):
            self.close()
            try:
                self.sock = socket.create_connection(self.address, timeout=30)
                self.lines = self.sock.makefile("rb")
                self._send({"type": "hello", "name": self.name})
                welcome = self._read()
                if welcome is not None and welcome["type"] == "welcome":
                    return
            except OSError:
                pass
            time.sleep(self.retry)
        raise ConnectionError("the room cannot be reached")

    def _send(self, request):
        self.sock.sendall(json.dumps(request).encode() + b"\n")

    def _read(self):
        """Returns the next event, or None if the connection has ended."""
        try:
            line = self.lines.readline()
        except ConnectionError:
            return None
        return json.loads(line) if line.endswith(b"\n") else None
