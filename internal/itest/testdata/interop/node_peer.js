// Echoes as people who begin with sockets do it. See interop_peer_test.go.
const net = require('net')
const [host, port, mode, countArg, lastArg] = process.argv.slice(2)
let count = Number(countArg)
const last = Number(lastArg)

const fail = (err) => { console.error(err); process.exitCode = 1; socket.destroy() }
const socket = net.connect(Number(port), host)
socket.on('error', (err) => { if (!last || count > 0) fail(err) })
socket.on('close', () => { if (count > 0) fail('the stream ended early') })

// cut calls each with every piece of the stream that ends in delimiter.
function cut(delimiter, each) {
  let received = Buffer.alloc(0)
  socket.on('data', (data) => {
    received = Buffer.concat([received, data])
    for (let i; (i = received.indexOf(delimiter)) >= 0; received = received.subarray(i + delimiter.length)) {
      each(received.subarray(0, i))
    }
  })
}

// echo prints a body, says it again, and ends after the last.
function echo(body, say) {
  console.log(body.toString('hex'))
  say(body)
  if (--count > 0) return
  if (last) say(Buffer.alloc(last, 'x'))
  else socket.end()
}

const modes = {
  // Lines of text: "NAME: BODY", and "* ..." for what is no message.
  text() {
    let received = ''
    socket.setEncoding('utf8')
    socket.on('data', (data) => {
      const lines = (received + data).split('\n')
      received = lines.pop()
      for (const line of lines) {
        if (line.startsWith('* ')) continue
        const body = line.slice(line.indexOf(': ') + 2)
        echo(Buffer.from(body), (body) => socket.write(body + '\n'))
      }
    })
  },
  // A JSON object a line.
  json() {
    const say = (object) => socket.write(JSON.stringify(object) + '\n')
    say({ type: 'hello', name: 'node' })
    cut('\n', (line) => {
      const event = JSON.parse(line)
      if (event.type === 'refused') fail(event.message)
      if (event.type !== 'message') return
      const body = event.data === undefined ? Buffer.from(event.body) : Buffer.from(event.data, 'base64')
      echo(body, (body) => say({ type: 'message', data: body.toString('base64') }))
    })
  },
  nul() {
    cut('\0', (body) => echo(body, (body) => socket.write(Buffer.concat([body, Buffer.from('\0')]))))
  },
}
modes[mode]()
