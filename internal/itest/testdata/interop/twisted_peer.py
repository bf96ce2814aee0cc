"""Echoes with Twisted's receivers. See interop_peer_test.go."""
import sys

from twisted.internet import protocol, reactor
from twisted.protocols import basic

host, port, mode, count, last = sys.argv[1:]
count, last = int(count), int(last)


class Strings:
    """What the receivers of strings have in common."""

    MAX_LENGTH = 1 << 20
    left = count

    def stringReceived(self, body):
        print(body.hex())
        self.sendString(body)
        self.left -= 1
        if self.left > 0:
            return
        if last:
            self.sendString(b"x" * last)
        else:
            self.transport.loseConnection()

    def connectionLost(self, reason):
        if reactor.running:
            reactor.stop()


class Lines(Strings, basic.LineReceiver):
    lineReceived = Strings.stringReceived

    def sendString(self, body):
        self.transport.write(body + b"\r\n")

    def lineLengthExceeded(self, line):
        raise AssertionError("a line is too long")


class UnixLines(Lines):
    """Reads lines that end in \\n and writes lines that end in \\r\\n."""

    delimiter = b"\n"


class Netstrings(Strings, basic.NetstringReceiver):
    pass


class Int8(Strings, basic.Int8StringReceiver):
    pass


class Int16(Strings, basic.Int16StringReceiver):
    pass


class Int32(Strings, basic.Int32StringReceiver):
    pass


class Factory(protocol.ClientFactory):
    protocol = {
        "crlf": Lines, "line": UnixLines, "netstring": Netstrings, "int8": Int8, "int16": Int16, "int32": Int32,
    }[mode]
    lost = None

    def clientConnectionFailed(self, connector, reason):
        self.lost = reason
        reactor.callWhenRunning(reactor.stop)


factory = Factory()
reactor.connectTCP(host, int(port), factory)
reactor.run()
if factory.lost:
    sys.exit(str(factory.lost))
