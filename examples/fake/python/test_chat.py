"""Run it with: python3 -m unittest test_chat.py"""
import time
import unittest

from chat import Chat
from fake import Fake


class ChatTest(unittest.TestCase):
    def open(self, script):
        """Starts a fake with a script, and a client of it."""
        self.fake = Fake(script)
        self.addCleanup(self.fake.stop)
        self.chat = Chat(self.fake.address, "ada")
        self.addCleanup(self.chat.close)

    def test_conversation(self):
        self.open(r"""
codec: json
members:
  - name: broker
    rules:
      - on: {messageLike: '^!price (\w+)$'}
        do: {say: "$from, a $1 is 3"}
expect:
  - {await: {joined: ada}, within: 5s}
  - {await: {message: {from: ada, body: '!price pear'}}, within: 5s}
""")
        self.chat.say("!price pear")
        self.assertEqual(self.chat.receive(), ("broker", "ada, a pear is 3"))

        # Something that no rule says, now.
        self.fake.do({"say": "we close"}, bot_as="broker")
        self.assertEqual(self.chat.receive(), ("broker", "we close"))

        self.assertEqual(self.fake.transcript().splitlines(), [
            "   1  * broker joined",
            "   2  * ada joined",
            "   3  ada: !price pear",
            "   4  broker: ada, a pear is 3",
            "   5  broker: we close",
        ])
        status = self.fake.stop()
        self.assertTrue(status["held"], self.fake.stderr)
        self.assertEqual(status["exit"], 0)

    def test_slow_network_and_one_that_breaks(self):
        self.open("""
codec: json
connections:
  - {number: 1, out: {cutAfter: 100}}  # within the welcome
  - {number: 2, refuse: true}
  - {out: {latency: 100ms, chop: 3}}
members:
  - name: echo
    rules:
      - {on: {joined: ada}, do: {say: welcome}}
      - {on: {messageLike: ''}, do: echo}
""")
        self.assertEqual(self.chat.receive(), ("echo", "welcome"))
        began = time.monotonic()
        self.chat.say("hi")
        self.assertEqual(self.chat.receive(), ("echo", "hi"))
        self.assertGreaterEqual(time.monotonic() - began, 0.1)
        connections = self.fake.status()["connections"]
        self.assertEqual([c["name"] for c in connections], ["", "", "ada"])

        # Now the connection that works breaks too.
        self.fake.do({"fault": {"name": "ada", "reset": True}})
        self.assertEqual(self.chat.receive(), ("echo", "welcome"))
        self.assertEqual(len(self.fake.status()["connections"]), 4)

    def test_expectation_that_fails_is_reported(self):
        self.open("""
codec: json
expect:
  - {await: {message: {from: ada, body: hello}}, within: 200ms}
""")
        self.chat.say("helo")
        with self.assertRaisesRegex(AssertionError, r"hello: it did not come within 100ms\n\tthe nearest is:\n.*ada: helo"):
            self.fake.wait_for({"message": "hello"}, within="100ms")
        status = self.fake.stop()
        self.assertFalse(status["held"])
        self.assertRegex(status["failures"][0]["what"], "await message ada: hello: it did not come")
        self.assertEqual(status["exit"], 1)

    def test_lives_of_one_fake(self):
        self.open("codec: json")
        was = self.fake.reset("codec: json\nmembers: [{name: bob, lines: [hi]}]")
        self.assertEqual((was["held"], was["life"], self.fake.ready["life"]), (True, 1, 2))
        chat = Chat(self.fake.address, "ada")
        self.addCleanup(chat.close)
        chat.say("hello")
        self.assertEqual(chat.receive(), ("bob", "hi"))

    def test_script_that_is_wrong_is_reported(self):
        with self.assertRaisesRegex(RuntimeError, '-e:1: a script has no key "member"; write members'):
            Fake("member: []")


if __name__ == "__main__":
    unittest.main()
