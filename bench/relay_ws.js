// A room over npm's ws. Answers the benchmark's questions as control.go does; the
// path of a connection is its room.
const http = require('node:http')
const readline = require('node:readline')
const { WebSocketServer, WebSocket } = require('ws')

const rooms = new Map()
let members = 0

const server = http.createServer()
const wss = new WebSocketServer({ server, clientTracking: false })

wss.on('connection', (socket, request) => {
  let room = rooms.get(request.url)
  if (!room) rooms.set(request.url, room = new Set())
  room.add(socket)
  members++
  socket.on('message', (data, isBinary) => {
    for (const other of room) {
      if (other !== socket && other.readyState === WebSocket.OPEN) other.send(data, { binary: isBinary })
    }
  })
  socket.on('error', () => socket.terminate())
  socket.on('close', () => {
    room.delete(socket)
    members--
  })
})

server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () =>
  console.log(`listening 127.0.0.1:${server.address().port}`))

readline.createInterface({ input: process.stdin })
  .on('line', question => console.log(question === 'members' ? members : 'null'))
  .on('close', () => process.exit())
