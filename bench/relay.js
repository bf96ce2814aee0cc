// A relay in Node. Answers the benchmark's questions as control.go does; its
// argument is the number of connections to a room, 0 for one room.
const net = require('node:net')
const readline = require('node:readline')

const perRoom = Number(process.argv[1])
const rooms = []
let opened = 0
let members = 0

const server = net.createServer({ noDelay: true }, socket => {
  const at = perRoom > 0 ? Math.floor(opened / perRoom) : 0
  const room = rooms[at] ??= new Set()
  opened++
  members++
  room.add(socket)
  socket.on('data', chunk => {
    for (const other of room) if (other !== socket) other.write(chunk)
  })
  socket.on('error', () => socket.destroy())
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
