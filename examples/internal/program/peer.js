// A peer that knows nothing of this library: node peer.js HOST PORT FRAMING.
// Lines of standard input go out as frames; the bodies of frames come out as lines.
const net = require('net')
const [host, port, framing] = process.argv.slice(-3)

const length = (size) => ({
  encode(body) {
    const head = Buffer.alloc(8)
    head.writeBigUInt64BE(BigInt(body.length))
    return Buffer.concat([head.subarray(8 - size), body])
  },
  decode(data) {
    if (data.length < size) return
    const n = size + data.readUIntBE(Math.max(0, size - 6), Math.min(size, 6))
    return data.length < n ? undefined : [data.subarray(size, n), n]
  },
})

const framings = {
  lines: {
    encode: (body) => Buffer.concat([body, Buffer.from('\n')]),
    decode(data) {
      const i = data.indexOf('\n')
      return i < 0 ? undefined : [data.subarray(0, i), i + 1]
    },
  },
  length1: length(1), length2: length(2), length4: length(4), length8: length(8),
  varint: {
    encode(body) {
      const head = []
      let n = body.length
      for (; n > 127; n >>>= 7) head.push((n & 127) | 128)
      return Buffer.concat([Buffer.from([...head, n]), body])
    },
    decode(data) {
      const end = data.findIndex((b) => b < 128)
      if (end < 0) return
      const n = data.subarray(0, end + 1).reduce((sum, b, i) => sum + (b & 127) * 2 ** (7 * i), 0) + end + 1
      return data.length < n ? undefined : [data.subarray(end + 1, n), n]
    },
  },
  netstring: {
    encode: (body) => Buffer.concat([Buffer.from(body.length + ':'), body, Buffer.from(',')]),
    decode(data) {
      const colon = data.indexOf(':')
      if (colon < 0) return
      const n = colon + 1 + Number(data.subarray(0, colon).toString())
      return data.length <= n ? undefined : [data.subarray(colon + 1, n), n + 1]
    },
  },
  'content-length': {
    encode: (body) => Buffer.concat([Buffer.from(`Content-Length: ${body.length}\r\n\r\n`), body]),
    decode(data) {
      const i = data.indexOf('\r\n\r\n')
      if (i < 0) return
      const n = i + 4 + Number(/Content-Length: (\d+)/.exec(data.subarray(0, i).toString())[1])
      return data.length < n ? undefined : [data.subarray(i + 4, n), n]
    },
  },
}

const { encode, decode } = framings[framing]
const socket = net.connect(Number(port), host)
let received = Buffer.alloc(0)
socket.on('data', (chunk) => {
  received = Buffer.concat([received, chunk])
  for (let frame; (frame = decode(received)); received = received.subarray(frame[1])) {
    process.stdout.write(frame[0].toString() + '\n')
  }
})
socket.on('error', (err) => { console.error(err.message); process.exit(1) })
socket.on('close', () => process.exit(0))
const input = require('readline').createInterface({ input: process.stdin })
input.on('line', (line) => socket.write(encode(Buffer.from(line))))
input.on('close', () => socket.end())
