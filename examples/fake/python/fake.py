"""Starts tcproom fake for a test, and drives it. It needs the standard library alone."""
import json
import os
import subprocess
import urllib.error
import urllib.request


class Fake:
    """A fake that plays a script, YAML. It is ready when it has been made.

    The command is tcproom, or what the environment variable TCPROOM says.
    """

    def __init__(self, script=""):
        # The fake ends when its standard input does, so it does not outlive this process.
        self.process = subprocess.Popen(
            [os.environ.get("TCPROOM", "tcproom"), "fake", "-until-eof", "-e", script],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            _, said = self.process.communicate()
            raise RuntimeError(f"tcproom fake has not started: {said}")
        self.ready = json.loads(line)
        self.address = (self.ready["host"], self.ready["port"])
        self.stderr = ""

    def do(self, do, **request):
        """Makes a bot (bot_as="ada"), or the room itself, do something: {"say": "hi"}."""
        if "bot_as" in request:
            request["as"] = request.pop("bot_as")
        return self._request("POST", "/do", json.dumps({"do": do, **request}).encode())

    def expect(self, **request):
        """Waits for what clients do: expect(expect=[{"joined": "ada"}], within="5s").

        Returns the answer, in which "held" says whether it came.
        """
        return self._request("POST", "/expect", json.dumps(request).encode())

    def wait_for(self, match, within="10s"):
        """Waits until a client does this, and fails the test if none does."""
        answer = self.expect(**{"await": match, "within": within})
        if not answer["held"]:
            raise AssertionError(answer["text"])
        return answer["events"][0]

    def status(self):
        """Returns whether the script has held so far, and who is there."""
        return self._request("GET", "/status")

    def transcript(self):
        """Returns all that has happened in the room, for people."""
        with urllib.request.urlopen(self.ready["control"] + "/transcript?format=text", timeout=60) as answer:
            return answer.read().decode()

    def reset(self, script=""):
        """Ends this life and begins the next, of the same script or of another.

        Returns the last status of the life that has ended.
        """
        self.ready = self._request("POST", "/reset", script.encode(), "application/yaml")
        return self.ready.pop("was")

    def stop(self):
        """Ends the fake. Returns the last status, with the process's exit status."""
        if self.process.poll() is not None:
            return None
        status = self._request("POST", "/stop")
        _, self.stderr = self.process.communicate(timeout=30)
        return {**status, "exit": self.process.returncode}

    def _request(self, method, path, body=None, media_type="application/json"):
        request = urllib.request.Request(
            self.ready["control"] + path, body or None, {"Content-Type": media_type}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refused:
            with refused:
                detail = json.load(refused)["detail"]
            raise RuntimeError(f"{method} {path}: {detail}") from None
