// A member over WebSocket, of npm's ws or of Node itself, and a reader of events. See
// interop_web_test.go.
const [implementation, url, mode, countArg] = process.argv.slice(2)
const count = Number(countArg)
const WebSocket = implementation === 'ws' ? require('ws') : globalThis.WebSocket
const print = (object) => console.log(JSON.stringify(object))

const modes = {
  // Joins, sends back count messages, is pinged twice, and leaves.
  leave() { member((socket) => socket.close(1000)) },
  // The same without a code.
  leaveSilently() { member((socket) => socket.close()) },
  // The same, but waits to be closed.
  stay() { member(() => print({ ready: true })) },
  // Reads count messages as events, over as many connections as it takes.
  events() {
    const source = new EventSource(url)
    let received = 0
    const waiting = setInterval(() => {}, 1000) // Node would not wait for it to come back
    source.onmessage = (event) => {
      const said = JSON.parse(event.data)
      if (said.type === 'gap') print({ gap: true })
      if (said.type !== 'message') return
      print({ id: event.lastEventId, body: said.body })
      if (++received < count) return
      source.close()
      clearInterval(waiting)
    }
  },
}

function member(then) {
  const socket = new WebSocket(url, ['tcproom.json'])
  let received = 0
  let pings = 0
  let done = false
  const perhaps = () => {
    // Only npm's tells of pings.
    if (done || received < count || (socket.on && pings < 2)) return
    done = true
    then(socket)
  }
  const say = (object) => socket.send(JSON.stringify(object))
  socket.onopen = () => say({ type: 'hello', name: 'node' })
  socket.onmessage = (event) => {
    const said = JSON.parse(event.data)
    if (said.type === 'goodbye') print({ goodbye: said.code })
    if (said.type !== 'message') return
    received++
    say({ type: 'message', body: said.body })
    perhaps()
  }
  socket.onerror = (event) => print({ error: event.message })
  socket.onclose = (event) => print({ code: event.code, reason: event.reason, wasClean: event.wasClean, protocol: socket.protocol, extensions: socket.extensions })
  if (socket.on) socket.on('ping', () => { pings++; perhaps() })
}

modes[mode]()
