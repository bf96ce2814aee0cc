// Echoes with the reader and the writer of vscode-jsonrpc, either JSON as they
// have it by default or, with a decoder and an encoder that leave bodies as they
// are, any bytes. See interop_peer_test.go.
const net = require('net')
const { StreamMessageReader, StreamMessageWriter } = require('vscode-jsonrpc/node')
const [host, port, mode, countArg, lastArg] = process.argv.slice(2)
let count = Number(countArg)
const last = Number(lastArg)

const json = mode === 'json'
const bytes = {
  contentTypeDecoder: { name: 'bytes', decode: async (body) => ({ body: Buffer.from(body) }) },
  contentTypeEncoder: { name: 'bytes', encode: async (message) => message.body },
}
const fail = (err) => { console.error(err); process.exitCode = 1; socket.destroy() }

const socket = net.connect(Number(port), host)
socket.on('error', (err) => { if (!last || count > 0) fail(err) })
socket.on('end', () => { if (count > 0) fail('the stream ended early') })
const reader = new StreamMessageReader(socket, json ? undefined : bytes)
const writer = new StreamMessageWriter(socket, json ? undefined : bytes)
reader.onError(fail)
reader.listen(async (message) => {
  const body = json ? Buffer.from(JSON.stringify(message)) : message.body
  console.log(body.toString('hex'))
  try {
    await writer.write(message)
    if (--count > 0) return
    if (last) await writer.write(json ? { x: 'x'.repeat(last - '{"x":""}'.length) } : { body: Buffer.alloc(last, 'x') })
    else socket.end()
  } catch (err) { if (!last || count > 0) fail(err) }
})
