"""Echoes with a length of any of struct's formats. See interop_peer_test.go."""
import socket
import struct
import sys

host, port, form, count, last = sys.argv[1:]


def read(stream, size):
    data = stream.read(size)
    if len(data) < size:
        sys.exit("the stream ended early")
    return data


with socket.create_connection((host, int(port))) as sock, sock.makefile("rb") as stream:
    for _ in range(int(count)):
        (size,) = struct.unpack(form, read(stream, struct.calcsize(form)))
        body = read(stream, size)
        print(body.hex())
        sock.sendall(struct.pack(form, len(body)) + body)
    if int(last):
        try:
            sock.sendall(struct.pack(form, int(last)) + b"x" * int(last))
            if stream.read():
                sys.exit("there is more than an end")
        except ConnectionError:
            pass  # the room may close while this is being sent
