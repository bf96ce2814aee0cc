// Tests of the client in page/chat.js, with a WebSocket whose server is the test.
import assert from 'node:assert/strict'
import { afterEach, beforeEach, mock, test } from 'node:test'
import { Hub, Room } from '../page/chat.js'

let sockets, random, window, rooms

class Socket {
	sent = []
	constructor(url, protocols) {
		Object.assign(this, { url, protocols })
		sockets.push(this)
	}
	send(data) {
		this.sent.push(JSON.parse(data))
	}
	close(code) {
		this.closed ??= code ?? 1005
	}
	say(...list) {
		for (const e of list) this.onmessage({ data: JSON.stringify(e) })
	}
	// cut ends the connection without a word.
	cut() {
		this.onclose({ code: 1006 })
	}
}

class Storage {
	constructor(from) {
		this.map = new Map(from?.map)
	}
	getItem(key) {
		return this.map.get(key) ?? null
	}
	setItem(key, value) {
		this.map.set(key, value)
	}
	removeItem(key) {
		this.map.delete(key)
	}
}

// Channel is a BroadcastChannel: what is posted comes to all others of that name, later.
class Channel {
	static all = new Set()
	constructor(name) {
		this.name = name
		Channel.all.add(this)
	}
	postMessage(data) {
		for (const c of Channel.all) {
			if (c !== this && c.name === this.name) queueMicrotask(() => Channel.all.has(c) && c.onmessage?.({ data }))
		}
	}
	close() {
		Channel.all.delete(this)
	}
}

// settle lets what waits for a promise go on.
const settle = async () => {
	for (let i = 0; i < 20; i++) await null
}
const last = () => sockets.at(-1)

const welcome = (more) => ({
	type: 'welcome', epoch: 'E7', seq: 10, id: 'x-2', name: 'ada', outcome: 'joined', token: 'QNSZ', total: 2,
	members: [{ id: 'x-1', name: 'bob' }, { id: 'x-2', name: 'ada' }], ...more,
})
const said = (seq, body, more) => ({ type: 'message', seq, from: { id: 'x-1', name: 'bob' }, body, ...more })

// tab opens a room, or a hub, and notes its events.
async function tab({ open = true, rooms: entered, ...options } = {}) {
	const room = new (entered ? Hub : Room)('http://chat.test/lobby/ws', { name: 'ada', storage: new Storage(), WebSocket: Socket, ...options })
	entered?.forEach((name) => room.enter(name))
	room.events = []
	for (const type of ['welcome', 'message', 'direct', 'join', 'leave', 'renamed', 'rooms', 'gap', 'lost', 'goodbye', 'refused', 'uncertain']) {
		room.addEventListener(type, ({ detail }) => room.events.push({ event: type, ...detail }))
	}
	room.heard = (type) => room.events.filter((e) => e.event === type)
	room.connect()
	await settle()
	if (open) last().onopen()
	rooms.push(room)
	return room
}

// reopen is tab with a storage that has a session: it waits for another tab to object.
async function reopen(storage, options) {
	const count = sockets.length
	const room = await tab({ storage, open: false, ...options })
	assert.equal(sockets.length, count)
	mock.timers.tick(250)
	await settle()
	last().onopen()
	return room
}

// comeBack runs the timer of the next attempt.
async function comeBack(room) {
	mock.timers.tick(Math.ceil(room.heard('lost').at(-1).retry))
	await settle()
	last().onopen()
}

beforeEach(() => {
	sockets = []
	rooms = []
	random = Math.random
	mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] })
	window = new EventTarget()
	globalThis.addEventListener = window.addEventListener.bind(window)
	globalThis.removeEventListener = window.removeEventListener.bind(window)
	Channel.all.clear()
	globalThis.BroadcastChannel = Channel
})

afterEach(() => {
	for (const room of rooms) room.close()
	Math.random = random
	mock.timers.reset()
})

test('hello', async () => {
	await tab({ auth: 's3cret', history: 50 })
	assert.equal(last().url, 'ws://chat.test/lobby/ws')
	assert.deepEqual(last().protocols, ['tcproom.json'])
	assert.deepEqual(last().sent, [{ type: 'hello', name: 'ada', auth: 's3cret', history: 50 }])
	const guest = new Room('https://chat.test/ws', { storage: null, WebSocket: Socket })
	rooms.push(guest)
	guest.connect()
	await settle()
	last().onopen()
	assert.equal(last().url, 'wss://chat.test/ws')
	assert.deepEqual(last().sent, [{ type: 'hello' }])
})

test('events, members and bodies', async () => {
	const room = await tab()
	last().say(
		welcome(),
		said(3, 'old', { history: true }),
		said(11, 'hi'),
		{ type: 'message', seq: 12, data: '/wD+' },
		{ type: 'join', seq: 13, from: { id: 'x-3', name: 'eve' } },
		{ type: 'leave', seq: 14, from: { id: 'x-1', name: 'bob' }, reason: 'kicked' },
		{ type: 'direct', from: { id: 'x-3', name: 'eve' }, body: 'psst' },
		{ type: 'typing' },
	)
	assert.deepEqual(room.events.map((e) => e.event), ['welcome', 'message', 'message', 'message', 'join', 'leave', 'direct'])
	assert.equal(room.state, 'open')
	assert.equal(room.id, 'x-2')
	assert.equal(room.total, 2)
	assert.deepEqual([...room.members], [['x-2', 'ada'], ['x-3', 'eve']])
	const [old, hi, binary] = room.heard('message')
	assert.equal(old.history, true)
	assert.equal(hi.history, undefined)
	assert.deepEqual([...binary.bytes], [255, 0, 254])
})

test('messages are numbered, and acknowledged with their place', async () => {
	const room = await tab()
	const first = room.send('before the welcome')
	last().say(welcome())
	const second = room.send('half a pair: \ud83d')
	assert.deepEqual(last().sent.slice(1), [
		{ type: 'message', id: 1, body: 'before the welcome' },
		{ type: 'message', id: 2, body: 'half a pair: \ufffd' },
	])
	last().say({ type: 'ack', id: 1, seq: 11 }, { type: 'ack', id: 2 })
	assert.equal(await first, 11)
	assert.equal(await second, 0)
	assert.deepEqual(room.pending, [])
})

test('a resume loses and repeats nothing', async () => {
	const room = await tab()
	last().say(welcome(), said(11, 'a'), said(12, 'b'))
	const promises = ['one', 'two', 'three'].map((text) => room.send(text))
	last().say({ type: 'ack', id: 1, seq: 13 })
	const before = last()
	before.cut()
	assert.equal(room.state, 'lost')
	const offline = room.send('four')
	await comeBack(room)
	assert.notEqual(last(), before)
	assert.deepEqual(last().sent[0].resume, { token: 'QNSZ', epoch: 'E7', seq: 13 })
	assert.equal(last().sent.length, 1)
	// What was missed: gus left and eve came, which the members of the welcome show already.
	last().say(
		welcome({ outcome: 'resumed', seq: 16, token: 'NEXT', lastId: 2, total: 3, members: [{ id: 'x-1', name: 'bob' }, { id: 'x-2', name: 'ada' }, { id: 'x-3', name: 'eve' }] }),
		{ type: 'leave', seq: 15, from: { id: 'x-9', name: 'gus' } },
		{ type: 'join', seq: 16, from: { id: 'x-3', name: 'eve' } },
	)
	assert.equal(room.total, 3)
	assert.equal(room.heard('leave').length, 1)
	assert.deepEqual(last().sent.slice(1).map((m) => [m.id, m.body]), [[2, 'two'], [3, 'three'], [4, 'four']])
	last().say({ type: 'ack', id: 2, seq: 14 }, { type: 'ack', id: 3, seq: 17 }, { type: 'ack', id: 4, seq: 18 })
	assert.deepEqual(await Promise.all([...promises, offline]), [13, 14, 17, 18])
	assert.deepEqual(room.heard('uncertain'), [])
	before.onmessage({ data: JSON.stringify(said(99, 'of a connection that is over')) })
	assert.deepEqual(room.heard('message').map((m) => m.body), ['a', 'b'])
	last().cut()
	await comeBack(room)
	assert.deepEqual(last().sent[0].resume, { token: 'NEXT', epoch: 'E7', seq: 18 })
})

test('a gap moves the position', async () => {
	const room = await tab()
	last().say(welcome())
	last().cut()
	await comeBack(room)
	last().say(welcome({ outcome: 'gap', seq: 40 }), { type: 'gap', first: 11, last: 30 })
	last().cut()
	await comeBack(room)
	assert.equal(last().sent[0].resume.seq, 30)
})

test('what cannot be resumed is uncertain, and not sent twice', async () => {
	const room = await tab()
	last().say(welcome({ seq: 10 }), said(4, 'old', { history: true }), said(11, 'new'))
	const given = room.send('given')
	last().cut()
	const kept = room.send('kept')
	await comeBack(room)
	last().say(welcome({ outcome: 'expired', seq: 20, token: 'OTHER' }), said(4, 'old', { history: true }), said(11, 'new', { history: true }), said(12, 'newer', { history: true }))
	await assert.rejects(given, { code: 'uncertain' })
	assert.deepEqual(room.heard('uncertain').map((e) => e.text), ['given'])
	assert.deepEqual(last().sent.slice(1), [{ type: 'message', id: 1, body: 'kept' }])
	last().say({ type: 'ack', id: 1, seq: 21 })
	assert.equal(await kept, 21)
	// The history that was received before does not come again.
	assert.deepEqual(room.heard('message').map((m) => m.body), ['old', 'new', 'newer'])
	// Another life of the room begins its numbers anew.
	last().cut()
	await comeBack(room)
	last().say(welcome({ outcome: 'expired', epoch: 'E8', seq: 1 }), said(1, 'reborn', { history: true }))
	assert.equal(room.heard('message').at(-1).body, 'reborn')
	assert.equal(last().sent[0].resume.seq, 21)
})

test('a room without sessions', async () => {
	const room = await tab()
	last().say(welcome({ outcome: undefined, token: undefined }))
	assert.equal(await room.send('hi'), 0)
	assert.deepEqual(last().sent.at(-1), { type: 'message', body: 'hi' })
	assert.equal(last().sent[0].since, undefined)
	last().say(said(11, 'new'))
	last().cut()
	await comeBack(room)
	assert.equal(last().sent[0].resume, undefined)
	// It joins anew, and tells what it has: the rest comes as history behind a gap.
	assert.deepEqual(last().sent[0].since, { epoch: 'E7', seq: 11 })
	last().say(welcome({ seq: 30, outcome: undefined, token: undefined }), { type: 'gap', first: 12, last: 20 })
	last().cut()
	await comeBack(room)
	assert.deepEqual(last().sent[0].since, { epoch: 'E7', seq: 20 })
	last().say(welcome({ seq: 31, outcome: undefined, token: undefined }), said(25, 'missed', { history: true }))
	assert.deepEqual(room.heard('gap'), [{ event: 'gap', type: 'gap', first: 12, last: 20 }])
	assert.deepEqual(room.heard('message').map((m) => m.body), ['new', 'missed'])
})

test('at most 256 messages are under way', async () => {
	const room = await tab()
	last().say(welcome())
	const promises = []
	for (let i = 0; i < 1000; i++) promises.push(room.send(`${i}`))
	assert.equal(last().sent.length, 1 + 256)
	last().say({ type: 'ack', id: 100, seq: 110 })
	assert.equal(last().sent.length, 1 + 356)
	assert.equal(await promises[0], 0)
	assert.equal(await promises[99], 110)
	assert.equal(room.pending.length, 900)
})

for (const [type, code] of [['goodbye', 'kicked'], ['goodbye', 'taken-over'], ['refused', 'denied']]) {
	test(`${type} ${code} is final`, async () => {
		const storage = new Storage()
		const room = await tab({ storage })
		if (type === 'goodbye') last().say(welcome())
		const sent = room.send('hi')
		last().say({ type, code, retry: false })
		assert.equal(room.state, 'closed')
		assert.equal(room.heard(type)[0].code, code)
		await assert.rejects(sent, { code: type === 'goodbye' ? 'uncertain' : 'denied' })
		await assert.rejects(room.send('too late'), { code: 'closed' })
		mock.timers.tick(3_600_000)
		window.dispatchEvent(new Event('online'))
		await settle()
		assert.equal(sockets.length, 1)
		assert.deepEqual([...storage.map.values()], ['null'])
		assert.deepEqual(room.heard('lost'), [])
	})
}

test('the backoff doubles, heeds the room and begins anew', async () => {
	Math.random = () => 1 - Number.EPSILON
	const room = await tab({ storage: null })
	const waits = []
	for (let i = 0; i < 11; i++) {
		last().cut()
		waits.push(Math.round(room.heard('lost').at(-1).retry))
		await comeBack(room)
	}
	assert.deepEqual(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000])
	last().say(welcome())
	mock.timers.tick(10_000)
	last().cut()
	assert.equal(Math.round(room.heard('lost').at(-1).retry), 100)
	await comeBack(room)
	last().say({ type: 'refused', code: 'full', retryAfter: 5000 })
	assert.equal(Math.round(room.heard('lost').at(-1).retry), 10_000)
	await comeBack(room)
	last().say({ type: 'refused', code: 'full', retryAfter: 60_000 })
	assert.equal(Math.round(room.heard('lost').at(-1).retry), 90_000)
	await comeBack(room)
	last().say({ type: 'refused', code: 'full', retryAfter: 9_223_372_036_854 })
	assert.equal(room.heard('lost').at(-1).retry, 2 ** 31 - 1)
	Math.random = () => 0
	const count = sockets.length
	mock.timers.tick(100_000)
	assert.equal(sockets.length, count)
	Math.random = () => 1 - Number.EPSILON
	window.dispatchEvent(new Event('online'))
	assert.equal(sockets.length, count + 1)
	last().cut()
	assert.equal(Math.round(room.heard('lost').at(-1).retry), 100)
})

test('offline shows at once, and online dials at once', async () => {
	const room = await tab()
	last().say(welcome())
	window.dispatchEvent(new Event('offline'))
	assert.equal(room.state, 'lost')
	assert.equal(room.heard('lost')[0].code, 'offline')
	assert.notEqual(last().closed, 1000, 'that would be a goodbye')
	window.dispatchEvent(new Event('online'))
	assert.equal(sockets.length, 2)
	last().onopen()
	assert.equal(last().sent[0].resume.token, 'QNSZ')
})

test('a page that the browser keeps for later gives its connection up', async () => {
	const room = await tab()
	last().say(welcome())
	window.dispatchEvent(Object.assign(new Event('pagehide'), { persisted: false }))
	assert.equal(last().closed, undefined, 'the browser closes it')
	window.dispatchEvent(Object.assign(new Event('pagehide'), { persisted: true }))
	assert.equal(last().closed, 4000)
	assert.equal(room.heard('lost')[0].code, 'suspended')
	await comeBack(room) // timers go on when the page is shown again
	assert.equal(last().sent[0].resume.token, 'QNSZ')
})

test('silence ends a connection', async () => {
	const room = await tab()
	mock.timers.tick(20_000)
	assert.equal(room.heard('lost')[0].code, 'timeout')
	await comeBack(room)
	last().say(welcome())
	mock.timers.tick(60_000)
	assert.deepEqual(last().sent.at(-1), { type: 'ping' })
	last().say({ type: 'pong' })
	mock.timers.tick(60_000)
	assert.equal(room.state, 'open')
	mock.timers.tick(20_000)
	assert.equal(room.heard('lost')[1].code, 'idle-timeout')
})

test('a reload is the same member', async () => {
	const storage = new Storage()
	const before = await tab({ storage })
	last().say(welcome(), said(11, 'a'))
	before.send('under way')
	last().say(said(12, 'b'))
	window.dispatchEvent(new Event('pagehide'))
	Channel.all.clear() // the page is gone
	const after = await reopen(storage)
	assert.deepEqual(last().sent[0].resume, { token: 'QNSZ', epoch: 'E7', seq: 12 })
	const [pending] = after.pending
	assert.equal(pending.text, 'under way')
	last().say(welcome({ outcome: 'resumed', lastId: 3 }))
	assert.deepEqual(last().sent.slice(1), [{ type: 'message', id: 1, body: 'under way' }])
	last().say({ type: 'ack', id: 1, seq: 13 })
	assert.equal(await pending.promise, 13)
	after.send('numbers go on')
	assert.equal(last().sent.at(-1).id, 4)
})

test('a duplicated tab is a member of its own', async () => {
	const storage = new Storage()
	const original = await tab({ storage })
	last().say(welcome())
	const first = last()
	const copy = new Storage(storage)
	const second = await tab({ storage: copy })
	assert.deepEqual(last().sent, [{ type: 'hello', name: 'ada' }])
	last().say(welcome({ id: 'x-3', token: 'MINE' }))
	mock.timers.tick(1000)
	assert.equal(first.closed, undefined)
	assert.match([...copy.map.values()][0], /MINE/)
	assert.match([...storage.map.values()][0], /QNSZ/)
	// Two more at once answer each other too, which the first does not take for itself.
	await Promise.all([1, 2].map(() => tab({ storage: new Storage(storage), open: false })))
	for (const s of sockets.slice(-2)) s.onopen()
	await tab({ storage: new Storage(storage) })
	assert.deepEqual(sockets.map((s) => s.sent[0].resume), Array(5).fill(undefined))
	// The one goes, and a third tab: a copy of the second, and another of the first.
	original.close()
	await tab({ storage: new Storage(copy) })
	assert.equal(last().sent[0].resume, undefined)
	const again = new Storage()
	again.map = new Map([...copy.map].map(([key, value]) => [key, value.replace(/"lease":[^,]*/, '"lease":1')]))
	await reopen(again)
	assert.equal(last().sent[0].resume.token, 'MINE')
	second.close()
})

test('what is sent early does not overwrite the session', async () => {
	const storage = new Storage()
	await tab({ storage })
	last().say(welcome())
	Channel.all.clear()
	const room = new Room('http://chat.test/lobby/ws', { storage, WebSocket: Socket })
	rooms.push(room)
	room.send('before connect')
	const connecting = room.connect()
	room.send('before the hello')
	mock.timers.tick(250)
	await connecting
	last().onopen()
	assert.equal(last().sent[0].resume.token, 'QNSZ')
	last().say(welcome({ outcome: 'resumed' }))
	assert.deepEqual(last().sent.slice(1).map((m) => m.body), ['before connect', 'before the hello'])
})

test('close says goodbye', async () => {
	const storage = new Storage()
	const room = await tab({ storage })
	last().say(welcome())
	room.close()
	assert.deepEqual(last().sent.at(-1), { type: 'goodbye' })
	assert.equal(last().closed, 1000)
	assert.equal(room.state, 'closed')
	assert.deepEqual([...storage.map.values()], ['null'])
	assert.equal(Channel.all.size, 0)
	room.connect()
	await settle()
	last().onopen()
	assert.deepEqual(last().sent, [{ type: 'hello', name: 'ada' }])
})

test('closed before it begins', async () => {
	const room = new Room('http://chat.test/ws', { WebSocket: Socket, storage: new Storage() })
	const connecting = room.connect()
	room.close()
	await connecting
	assert.equal(sockets.length, 0)
	assert.equal(Channel.all.size, 0)
})

test('a server that speaks another protocol', async () => {
	const room = await tab()
	last().onmessage({ data: 'hi' })
	assert.equal(room.heard('lost')[0].code, 'malformed')
})

// inHub opens a hub that is in these rooms.
async function inHub(names, options) {
	const hub = await tab({ rooms: names, ...options })
	last().say(star())
	names.forEach((room, i) => last().say(into(room, { ref: i + 1 })))
	return hub
}
const star = (more) => welcome({ room: '*', epoch: 'E0', seq: 0, members: [], ...more })
const into = (room, more) => welcome({ room, token: undefined, epoch: `E-${room}`, ...more })

test('a hub is in several rooms by one connection', async () => {
	const hub = await tab({ rooms: ['lobby'], history: 20 })
	assert.deepEqual(last().sent, [{ type: 'hello', name: 'ada', history: 20, rooms: [] }])
	last().say(star())
	assert.deepEqual(last().sent.at(-1), { type: 'enter', room: 'lobby', history: 20, ref: 1 })
	const early = hub.send('early', 'lobby')
	hub.enter('kitchen')
	assert.equal(last().sent.at(-1).ref, 2)
	assert.equal(hub.rooms.get('lobby').open, false)
	last().say(into('lobby', { ref: 1 }), into('kitchen', { ref: 2, total: 1, members: [{ id: 'x-2', name: 'ada' }] }))
	assert.deepEqual([...hub.rooms.keys()], ['*', 'lobby', 'kitchen'])
	const late = hub.send('late', 'kitchen')
	assert.deepEqual(last().sent.slice(-2), [
		{ type: 'message', room: 'lobby', id: 1, body: 'early' },
		{ type: 'message', room: 'kitchen', id: 2, body: 'late' },
	])
	last().say({ type: 'ack', room: 'kitchen', id: 2, seq: 30 }, { type: 'ack', room: 'lobby', id: 1, seq: 40 })
	assert.deepEqual(await Promise.all([early, late]), [40, 30])
	last().say(
		{ ...said(41, 'in the lobby'), room: 'lobby' }, { ...said(1, 'to all'), room: '*' },
		{ type: 'leave', room: 'lobby', seq: 42, from: { id: 'x-1', name: 'bob' } },
		{ type: 'renamed', room: 'kitchen', seq: 31, from: { id: 'x-2', name: 'ada' }, name: 'eve' },
		{ type: 'rooms', ref: 3, rooms: [{ name: 'attic', members: 0 }], total: 1 },
		{ type: 'direct', from: { id: 'x-1', name: 'bob' }, body: 'psst' },
	)
	assert.deepEqual(hub.heard('message').map((m) => [m.room, m.body]), [['lobby', 'in the lobby'], ['*', 'to all']])
	assert.deepEqual([...hub.rooms.get('lobby').members.values()], ['ada'])
	assert.deepEqual([...hub.rooms.get('kitchen').members.values()], ['eve'])
	assert.equal(hub.name, 'eve')
	assert.equal(hub.heard('rooms')[0].rooms[0].name, 'attic')
	assert.equal(hub.heard('direct')[0].body, 'psst')
	await assert.rejects(hub.send('nowhere', 'attic'), { code: 'closed' })
})

test('a hub resumes in its rooms', async () => {
	const hub = await inHub(['lobby', 'kitchen', 'cellar'])
	last().say({ ...said(11, 'a'), room: 'lobby' })
	const first = hub.send('first', 'kitchen')
	const second = hub.send('second', 'lobby')
	const third = hub.send('third', 'kitchen')
	last().cut()
	assert.equal(hub.rooms.get('lobby').open, false)
	hub.enter('attic')
	const kept = hub.send('kept', 'lobby')
	await comeBack(hub)
	assert.deepEqual(last().sent[0].resume, { token: 'QNSZ', epoch: 'E0', seq: 0, rooms: {
		lobby: { epoch: 'E-lobby', seq: 11 }, kitchen: { epoch: 'E-kitchen', seq: 10 }, cellar: { epoch: 'E-cellar', seq: 10 },
	} })
	last().say(star({ outcome: 'resumed' }))
	assert.deepEqual(last().sent.slice(1).map((m) => [m.type, m.room]), [['enter', 'attic']])
	// Numbers rise over all rooms, so what has one goes again in that order, and before all else.
	last().say(into('attic', { ref: 1 }), into('kitchen', { outcome: 'resumed', lastId: 1 }))
	const early = hub.send('early', 'kitchen')
	assert.equal(last().sent.length, 2)
	last().say(into('lobby', { outcome: 'gap' }), { type: 'gap', room: 'lobby', first: 12, last: 20 })
	assert.deepEqual(last().sent.slice(2).map((m) => [m.room, m.id, m.body]), [
		['kitchen', 1, 'first'], ['lobby', 2, 'second'], ['kitchen', 3, 'third'], ['lobby', 4, 'kept'], ['kitchen', 5, 'early'],
	])
	last().say({ type: 'ack', room: 'kitchen', id: 1 }, { type: 'ack', room: 'kitchen', id: 3, seq: 11 }, { type: 'ack', room: 'kitchen', id: 5, seq: 12 })
	last().say({ type: 'ack', room: 'lobby', id: 2, seq: 21 }, { type: 'ack', room: 'lobby', id: 4, seq: 22 })
	assert.deepEqual(await Promise.all([first, second, third, kept, early]), [0, 21, 11, 22, 12])
	// One could not be resumed, and is entered anew, which may be refused.
	last().say({ type: 'refused', room: 'cellar', code: 'no-room' })
	assert.deepEqual(last().sent.at(-1), { type: 'enter', room: 'cellar', ref: 2 })
	assert.deepEqual(hub.heard('refused'), [])
	last().say({ type: 'refused', room: 'cellar', ref: 2, code: 'denied', retry: false })
	assert.equal(hub.heard('refused').length, 1)
	assert.equal(hub.state, 'open')
	assert.deepEqual([...hub.rooms.keys()], ['*', 'lobby', 'kitchen', 'attic'])
	last().cut()
	await comeBack(hub)
	assert.deepEqual(last().sent[0].resume.rooms, { lobby: { epoch: 'E-lobby', seq: 22 }, kitchen: { epoch: 'E-kitchen', seq: 12 }, attic: { epoch: 'E-attic', seq: 10 } })
})

test('a hub that cannot resume enters its rooms anew', async () => {
	const hub = await inHub(['lobby'])
	last().say({ ...said(9, 'old', { history: true }), room: 'lobby' }, { ...said(11, 'new'), room: 'lobby' })
	const given = hub.send('given', 'lobby')
	last().cut()
	await comeBack(hub)
	last().say(star({ outcome: 'expired', token: 'OTHER' }))
	assert.equal(last().sent.at(-1).type, 'enter')
	last().say(into('lobby', { ref: 1, seq: 20 }), { ...said(11, 'new', { history: true }), room: 'lobby' }, { ...said(12, 'newer', { history: true }), room: 'lobby' })
	await assert.rejects(given, { code: 'uncertain' })
	assert.deepEqual(hub.heard('uncertain'), [{ event: 'uncertain', room: 'lobby', number: 1, text: 'given' }])
	assert.equal(hub.heard('welcome').at(-1).outcome, 'expired')
	assert.deepEqual(hub.heard('message').map((m) => m.body), ['old', 'new', 'newer'])
})

test('a room of a hub is left, and entered again', async () => {
	const hub = await inHub(['lobby', 'kitchen'])
	const given = hub.send('given', 'kitchen')
	hub.leave('kitchen')
	await assert.rejects(given, { code: 'uncertain' })
	assert.deepEqual(last().sent.at(-1), { type: 'leave', room: 'kitchen', ref: 3 })
	hub.enter('kitchen')
	last().say(
		{ ...said(11, 'before it was left'), room: 'kitchen' },
		{ type: 'goodbye', room: 'kitchen', ref: 3, code: 'left' },
		into('kitchen', { ref: 4, seq: 20 }), { ...said(21, 'behind'), room: 'kitchen' },
	)
	assert.deepEqual(hub.heard('message').map((m) => m.body), ['behind'])
	assert.deepEqual(hub.heard('goodbye'), [])
	last().say({ type: 'goodbye', room: 'kitchen', code: 'kicked', retry: false })
	assert.deepEqual(hub.heard('goodbye').map((e) => e.room), ['kitchen'])
	assert.equal(hub.state, 'open')
	assert.deepEqual([...hub.rooms.keys()], ['*', 'lobby'])
	last().say({ type: 'goodbye', code: 'closed', retry: false })
	assert.equal(hub.state, 'closed')
})

test('what a hub refuses ends nothing', async () => {
	const hub = await inHub(['lobby'])
	hub.enter('No No')
	last().say({ type: 'refused', ref: 2, code: 'room-name', retry: false }) // which names no such room
	assert.deepEqual(hub.heard('refused').map((e) => e.room), ['No No'])
	hub.request({ type: 'direct', to: 'x-9', body: 'psst' })
	last().say({ type: 'refused', ref: 3, code: 'recipient' }, { type: 'refused', room: 'lobby', code: 'muted' }, { type: 'ack', ref: 3 })
	assert.equal(hub.heard('refused').length, 3)
	assert.equal(hub.state, 'open')
	assert.deepEqual([...hub.rooms.keys()], ['*', 'lobby'])
})

test('a reload is in the same rooms', async () => {
	const storage = new Storage()
	await inHub(['lobby', 'kitchen'], { storage })
	last().say({ ...said(12, 'b'), room: 'kitchen' })
	window.dispatchEvent(new Event('pagehide'))
	Channel.all.clear()
	const hub = await reopen(storage, { rooms: ['attic'] })
	assert.deepEqual(last().sent[0].resume.rooms, { lobby: { epoch: 'E-lobby', seq: 10 }, kitchen: { epoch: 'E-kitchen', seq: 12 } })
	last().say(star({ outcome: 'resumed' }))
	assert.deepEqual([...hub.rooms.keys()], ['*', 'lobby', 'kitchen', 'attic'])
	assert.equal(last().sent.at(-1).room, 'attic')
})
