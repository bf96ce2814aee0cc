// The client of a tcproom room or hub over WebSocket, for any page, and the page made of it. What
// the classes have for other pages stands in docs/http.md, "The page and its module".

const FIRST = 100, MOST = 30_000, STABLE = 10_000 // ms, of the backoff
const WINDOW = 256 // messages under way in a room, which knows the places of so many
const PATIENCE = 20_000 // for a welcome or pong; a ping comes after three times that

const session = () => sessionStorage // throws if cookies are blocked
const failure = (code) => Object.assign(new Error(`tcproom: ${code}`), { code })

// stored reads or writes a key of a storage, if any.
function stored(of, key, value) {
	try {
		if (value === undefined) return JSON.parse(of().getItem(key))
		of().setItem(key, JSON.stringify(value))
	} catch {}
}

// claim takes the session of that name for this tab: it resolves to the channel to close
// when it is over, or to undefined if another tab has it. Locks would need a secure context.
function claim(name, isNew) {
	const channel = new BroadcastChannel(`tcproom ${name}`)
	return new Promise((resolve) => {
		let mine = isNew
		const take = () => {
			mine = true
			resolve(channel)
		}
		if (mine) take()
		else channel.postMessage('free?')
		const timer = setTimeout(take, 250)
		channel.onmessage = ({ data }) => {
			if (data === 'free?') return channel.postMessage('no')
			if (mine) return // the answer is for another tab
			clearTimeout(timer)
			channel.close()
			resolve()
		}
	})
}

// A Hub is one connection that is in any number of rooms.
export class Hub extends EventTarget {
	id = ''
	state = 'new'

	#options
	#url
	#storage
	#key
	#base // what the connection itself is called: '*', or '' if it is of one room
	#session // outlives a reload
	#channel
	#ws
	#refs = [] // the rooms of requests
	#opened = Infinity
	#ceiling = 0 // of the backoff
	#timer // of the next attempt, or of the welcome
	#saving
	#clock
	#silence = 0 // ticks of the clock

	constructor(url, options = {}, base = '*') {
		super()
		this.#url = new URL(url, globalThis.document?.baseURI)
		this.#url.protocol = this.#url.protocol.replace('http', 'ws')
		this.#options = options
		this.#base = base
		this.#key = `tcproom ${this.#url}`
		this.name = options.name ?? ''
		this.#storage = 'storage' in options ? () => options.storage : session
		this.#reset()
	}

	// rooms are those that it is in, or is to be in, by name; the connection itself is one.
	get rooms() {
		return this.#session.rooms
	}

	#reset({ lease, token, last = 0, rooms = [] } = {}) {
		// last: the greatest number of a message, in any room.
		this.#session = { lease, token, last, rooms: new Map(rooms.map(([name, r]) => [name, { ...r, ...NOBODY() }])) }
		this.#room(this.#base)
	}

	#room(name) {
		// out: messages without an ack, oldest first; handed: how many of them are under way.
		if (!this.rooms.has(name)) this.rooms.set(name, { seq: 0, seen: 0, out: [], ...NOBODY() })
		return this.rooms.get(name)
	}

	// connect joins, or makes the next attempt at once. It resolves when that has begun.
	async connect() {
		if (this.state === 'lost') return this.#dial()
		if (!/new|closed/.test(this.state)) return
		this.state = 'connecting'
		const before = this.#session
		const old = stored(this.#storage, this.#key)
		let channel = old && await claim(old.lease)
		const s = channel ? old : { lease: Math.random() }
		channel ||= await claim(s.lease, true)
		if (this.#session !== before) return channel.close() // closed meanwhile
		this.#channel = channel
		this.#reset(s)
		for (const r of this.rooms.values()) r.out.forEach(message)
		for (const [name, { out }] of before.rooms) this.#room(name).out.push(...out)
		for (const [type, fn] of this.#signals) globalThis.addEventListener?.(type, fn)
		this.#dial()
	}

	// enter goes into a room too, now or with the next connection.
	enter(room) {
		if (!this.#room(room).open) this.request({ type: 'enter', room, history: this.#options.history })
		this.#save()
	}

	leave(room) {
		if (this.rooms.get(room)?.open) this.request({ type: 'leave', room })
		this.#drop(room, 'left')
	}

	// request asks the hub for something, if there is a connection.
	request(r) {
		if (this.state === 'open') this.#ws.send(JSON.stringify({ ...r, ref: this.#refs.push(r.room) }))
	}

	// send takes a message, also while the connection is lost. It returns a promise of its seq, 0
	// if the room tells none, or an error whose code is 'uncertain' or that of the end.
	send(text, room = '') {
		const m = message({ text: text.toWellFormed?.() ?? text })
		const r = this.rooms.get(room)
		if (this.state === 'closed' || !r) m.reject(failure('closed'))
		else {
			r.out.push(m)
			this.#save()
			this.#pump()
		}
		return m.promise
	}

	close() {
		if (this.state === 'closed') return
		if (this.state === 'open') this.#ws.send('{"type":"goodbye"}')
		this.#ws?.close(1000)
		this.#finish('closed')
	}

	#signals = Object.entries({
		pagehide: ({ persisted }) => {
			this.#save()
			if (persisted) this.#lose('suspended') // or the browser keeps the connection for minutes
		},
		offline: () => this.#lose('offline'),
		online: () => {
			this.#ceiling = 0
			if (this.state === 'lost') this.#dial()
			if (this.state === 'open') this.#ask()
		},
	})

	#emit(type, detail) {
		this.dispatchEvent(new CustomEvent(type, { detail }))
	}

	#save() {
		clearTimeout(this.#saving)
		this.#saving = 0
		const s = this.#session
		if (s.lease) stored(this.#storage, this.#key, { ...s, rooms: [...s.rooms] }) // else not claimed
	}

	#dial() {
		clearTimeout(this.#timer)
		this.state = 'connecting'
		const { name, auth, history, WebSocket = globalThis.WebSocket } = this.#options
		const { token, rooms } = this.#session
		const { epoch, seq, seen } = rooms.get(this.#base)
		const hello = { type: 'hello', name: name || undefined, auth, history, resume: token && { token, epoch, seq } }
		if (this.#base) {
			hello.rooms = []
			const known = [...rooms].filter(([name, r]) => name !== '*' && r.epoch)
			if (token) hello.resume.rooms = Object.fromEntries(known.map(([name, { epoch, seq }]) => [name, { epoch, seq }]))
		} else if (seen) hello.since = { epoch, seq: seen } // if it joins anew
		const ws = this.#ws = new WebSocket(this.#url.href, ['tcproom.json'])
		ws.onopen = () => ws.send(JSON.stringify(hello))
		ws.onmessage = ({ data }) => ws === this.#ws && this.#take(data)
		ws.onclose = () => ws === this.#ws && this.#lose('reset')
		this.#timer = setTimeout(() => this.#lose('timeout'), PATIENCE)
	}

	#take(data) {
		this.#silence = 0
		let e
		try {
			e = JSON.parse(data)
			if (e.data != null) {
				e.bytes = Uint8Array.from(atob(e.data), (c) => c.charCodeAt())
				e.body = new TextDecoder().decode(e.bytes)
			}
		} catch {
			return this.#lose('malformed')
		}
		if (this.#base) e.room ??= this.#refs[e.ref - 1]
		const room = e.room ?? this.#base
		const r = this.rooms.get(room)
		const seq = e.seq ?? e.last ?? 0
		if (e.type === 'welcome') return this.#welcome(e, room)
		if (e.type === 'refused' || e.type === 'goodbye') return this.#refuse(e, room, r)
		if (room && !r?.open) return // of a room that was left
		switch (e.type) {
			case 'ack':
				while (r.handed && r.out[0].number <= e.id) {
					const m = r.out.shift()
					r.handed--
					m.resolve(m.number === e.id ? seq : 0)
				}
				this.#pump()
				break
			case 'gap':
			case 'message':
				if (seq && (e.history || e.type === 'gap')) {
					if (seq <= r.seen) return // before the connection was lost
					r.seen = seq
				}
				break
			case 'renamed':
				r.members.set(e.from.id, e.name)
				if (e.from.id === this.id) this.name = e.name
				break
			case 'join':
			case 'leave':
				if (seq && seq <= r.welcomed) break // the members of the welcome are newer
				r.total += e.type === 'join' ? !r.members.has(e.from.id) : -1
				if (e.type === 'join') r.members.set(e.from.id, e.from.name)
				else r.members.delete(e.from.id)
		}
		if (!e.history && seq > r.seq && e.type !== 'members') r.seq = r.seen = seq
		this.#saving ||= setTimeout(() => this.#save(), 200)
		if (e.type !== 'ack') this.#emit(e.type, e)
	}

	#welcome(e, room) {
		const r = this.#room(room)
		const { total, seq = 0 } = e
		const on = room === this.#base && this.state === 'open' // it goes on
		const resumed = on || /^(resumed|gap)$/.test(e.outcome)
		if (on && e.outcome === 'reset') r.seq = r.seen = seq
		const unsure = resumed ? [] : r.out.filter((m) => m.number)
		if (!resumed) {
			if (r.epoch !== e.epoch) r.seen = 0
			else if (room) e.outcome = 'expired' // it is in the room anew
			r.seq = seq
			r.out = r.out.filter((m) => !m.number)
		}
		Object.assign(r, { epoch: e.epoch, total, welcomed: seq, open: true, members: new Map(e.members?.map((m) => [m.id, m.name])) })
		if (room === this.#base && !on) this.#begin(e, resumed || e.outcome === 'reset')
		this.#save()
		this.#emit('welcome', e)
		this.#doubt(unsure, room)
		this.#pump()
	}

	#begin({ id, name, token, lastId = 0 }, resumed) {
		clearTimeout(this.#timer)
		Object.assign(this, { id, name, state: 'open' })
		const s = this.#session
		s.token = token
		// An earlier page may have given numbers up to lastId that were not stored.
		s.last = resumed ? Math.max(s.last, lastId) : lastId
		this.#opened = Date.now()
		this.#clock = setInterval(() => {
			if (++this.#silence === 3) this.#ask()
			else if (this.#silence > 3) this.#lose('idle-timeout')
		}, PATIENCE)
		for (const [name, r] of this.rooms) if (!resumed || !r.epoch) this.enter(name)
	}

	// refuse takes a refused or goodbye: of a room, of a request or of the connection.
	#refuse(e, room, r) {
		const refused = e.type === 'refused'
		if (room !== this.#base) {
			if (refused && r && !r.open && !e.ref) return this.enter(room) // it could not be resumed there
			if (!refused && !r?.open) return // it was left, and may be entered again
			if (!refused || r && !r.open) this.#drop(room, e.code)
			return this.#emit(e.type, e)
		}
		this.#emit(e.type, e)
		if (this.state === 'closed' || refused && this.state === 'open') return
		if (e.retry === false) return this.#finish(e.code)
		this.#lose(e.code, e.reason ?? e.message, e.retryAfter)
	}

	#drop(room, code) {
		const r = this.rooms.get(room)
		this.rooms.delete(room)
		this.#save()
		if (r) this.#giveUp(room, r, code)
		this.#pump()
	}

	// giveUp settles what was sent and has no ack.
	#giveUp(room, r, code) {
		for (const m of r.out) if (!m.number) m.reject(failure(code))
		this.#doubt(r.out.filter((m) => m.number), room)
	}

	// doubt reports messages that the room may have.
	#doubt(list, room) {
		for (const { reject, number, text } of list) {
			reject(failure('uncertain'))
			this.#emit('uncertain', { room: room || undefined, number, text })
		}
	}

	// pump sends what waits. Numbers rise over all rooms: what had one before the connection was
	// lost goes first, when its rooms are there again.
	#pump() {
		const { token, rooms } = this.#session
		const all = [...rooms]
		if (this.state !== 'open' || all.some(([, r]) => !r.open && r.out.some((m) => m.number))) return
		const batch = all.flatMap(([room, r]) => r.open ? r.out.slice(r.handed, token ? WINDOW : undefined).map((m) => [room, m]) : [])
		if (!batch.length) return
		batch.sort(([, a], [, b]) => (a.number ?? Infinity) - (b.number ?? Infinity) || 0)
		for (const [room, m] of batch) {
			m.number ??= ++this.#session.last
			rooms.get(room).handed++
		}
		this.#save() // before the room can have them
		for (const [room, m] of batch) {
			this.#ws.send(JSON.stringify({ type: 'message', room: room || undefined, id: token && m.number, body: m.text }))
			if (token) continue
			m.resolve(0)
			rooms.get(room).out.shift()
			rooms.get(room).handed--
		}
	}

	// ask wants a sign of life before the next tick.
	#ask() {
		this.#silence = 3
		this.#ws.send('{"type":"ping"}')
	}

	// stop ends the connection, if any, and what waits for it.
	#stop() {
		this.#ws?.close(4000) // 1000 would be a goodbye
		this.#ws = null
		this.#refs = []
		for (const r of this.rooms.values()) Object.assign(r, { handed: 0, open: false })
		clearTimeout(this.#timer)
		clearInterval(this.#clock)
	}

	#lose(code, text, hint = 0) {
		if (!/open|connecting/.test(this.state)) return
		this.#stop()
		this.#ceiling = Date.now() - this.#opened < STABLE ? Math.min(this.#ceiling * 2 || FIRST, MOST) : FIRST
		this.#opened = Infinity
		const ceiling = Math.max(this.#ceiling, Math.min(hint, MOST))
		const retry = Math.min(Math.random() * ceiling + hint, 2 ** 31 - 1) // the most that timers know
		this.state = 'lost'
		this.#timer = setTimeout(() => this.#dial(), retry)
		this.#emit('lost', { code, text, retry })
	}

	#finish(code) {
		const { rooms } = this
		this.state = 'closed'
		this.#stop()
		if (this.#channel) stored(this.#storage, this.#key, null)
		this.#channel?.close()
		this.#channel = null
		this.#reset()
		for (const [type, fn] of this.#signals) globalThis.removeEventListener?.(type, fn)
		for (const [name, r] of rooms) this.#giveUp(name, r, code)
	}
}

// A Room is a connection that is in one room.
export class Room extends Hub {
	constructor(url, options) {
		super(url, options, '')
	}

	get members() {
		return this.rooms.get('').members
	}

	get total() {
		return this.rooms.get('').total
	}

	get pending() {
		return this.rooms.get('').out
	}
}

const NOBODY = () => ({ members: new Map(), total: 0, handed: 0, open: false })

function message(m) {
	m.promise = new Promise((resolve, reject) => Object.assign(m, { resolve, reject }))
	m.promise.catch(() => {}) // nobody has to wait for it
	return m
}

// The page of index.html.

const LINES = 2000 // at most in the document

// element makes one. Strings in its content become text, never markup.
function element(tag, properties, ...content) {
	const e = Object.assign(document.createElement(tag), properties)
	e.append(...content)
	return e
}

// linked makes links of addresses, less what ends a sentence.
const ADDRESS = /\b(https?:\/\/(?:[^\s<>"()]|\([^\s<>"()]*\))*(?:[^\s<>"().,:;!?']|\([^\s<>"()]*\)))/i
const linked = (text) => text.split(ADDRESS).map((href, i) => {
	if (i % 2 === 0 || !URL.canParse(href)) return href
	return element('a', { href, target: '_blank', rel: 'noopener noreferrer' }, href)
})

const clock = new Intl.DateTimeFormat([], { timeStyle: 'short' })
const full = new Intl.DateTimeFormat([], { dateStyle: 'medium', timeStyle: 'short' })

// A Log is the list of lines. Messages that the room has not yet stand at its end.
class Log {
	#queue = []
	#due = 0
	#stuck = true // to the bottom
	#top = 0
	#tail = null // the first of these

	constructor(box, news) {
		Object.assign(this, { box, news })
		box.onscroll = () => {
			const near = box.scrollHeight - box.scrollTop - box.clientHeight < 40
			if (near || box.scrollTop < this.#top) this.#stuck = near // not by a resize
			this.#top = box.scrollTop
			if (near) this.#tell(true)
		}
		new ResizeObserver(() => this.follow()).observe(box)
	}

	// add shows item with the next frame. A hidden page has none, and in a rush they cost much.
	add(item) {
		this.#queue.push(item)
		const flush = () => this.flush()
		const later = document.hidden || this.box.ariaLive === 'off'
		this.#due ||= later ? setTimeout(flush, 250) : requestAnimationFrame(flush)
	}

	flush() {
		this.#due = 0
		const items = this.#queue.splice(0).slice(-LINES)
		if (!items.length) return
		this.box.ariaLive = items.length > 20 ? 'off' : 'polite' // a rush
		for (const item of items) this.#place(this.#line(item), this.#tail)
		while (this.box.childElementCount > LINES) this.box.firstChild.remove()
		this.#tell(false)
		this.follow()
	}

	// tell shows or hides the button, which is of the log that is shown.
	#tell(hidden) {
		if (this.box.isConnected) this.news.hidden = hidden
	}

	pending(item) {
		this.flush()
		const line = this.#line(item)
		line.classList.add('pending')
		this.#place(line, null)
		this.#tail ??= line
		this.follow(true)
		return line
	}

	settle(line, seq, fate = '') {
		this.flush()
		this.remove(line)
		line.classList.remove('pending')
		line.item.seq = seq
		line.append(fate)
		this.#place(line, this.#tail)
		this.follow()
	}

	remove(line) {
		const next = line.nextSibling
		if (this.#tail === line) this.#tail = next
		line.remove()
		this.#group(next)
	}

	clear() {
		this.#queue = []
		this.box.replaceChildren(...this.box.querySelectorAll('.pending'))
	}

	// follow scrolls to the bottom, unless the user left it.
	follow(always) {
		this.#stuck ||= always
		if (!this.#stuck) return
		this.box.scrollTop = this.box.scrollHeight
		this.#tell(true)
	}

	// place puts line before next and all that has a greater seq.
	#place(line, next) {
		const before = () => next ? next.previousSibling : this.box.lastChild
		while (line.item.seq && before()?.item.seq > line.item.seq) next = before()
		this.box.insertBefore(line, next)
		this.#group(line)
		this.#group(next)
	}

	// group leaves out the name if the same member goes on.
	#group(line) {
		const a = line?.previousSibling?.item
		const b = line?.item
		line?.classList.toggle('more', a?.id && a.id === b.id && a.direct === b.direct && b.time - a.time < 300_000 || false)
	}

	#line(item) {
		const { note, bad, name, direct, own, time } = item
		if (note) return element('p', { className: bad ? 'note bad' : 'note', item }, note)
		const who = element('bdi', { className: 'who' }, name, direct ? ` (${direct})` : '')
		let hue = 0
		for (const c of name) hue = (hue * 31 + c.codePointAt()) % 360
		who.style.setProperty('--hue', hue)
		const today = new Date(time).toDateString() === new Date().toDateString()
		const text = element('p', { className: 'text', dir: 'auto' }, ...linked(item.text))
		return element('div', { className: own ? 'said own' : 'said', item }, who, element('small', {}, (today ? clock : full).format(time)), text)
	}
}

// page runs the page. named: the server gives the names; home: the first room of a hub.
function page(url, named, home) {
	const $ = (id) => document.getElementById(id)
	const text = $('text')
	const { title } = document
	const hub = home !== undefined
	const key = `tcproom log ${location.pathname}`
	const local = () => localStorage
	const myName = 'tcproom name'
	const tracked = new WeakSet() // promises of send
	const views = new Map() // by room
	let here // the view that is shown
	let conn
	let to // the ID of who alone gets the next message
	let due = 0 // the roster's next frame

	// view returns what the page shows of a room.
	function view(name) {
		let v = views.get(name)
		if (v) return v
		const box = views.size ? $('log').cloneNode() : $('log')
		const saved = stored(session, `${key} ${name}`) ?? [] // of the page before
		v = {
			name,
			log: new Log(box, $('news')),
			link: element('a', { href: `#${encodeURIComponent(name)}`, onclick: () => show(name) }),
			placed: new Set(saved.map((item) => item.own && item.seq)), // of own messages with a line
			unplaced: [], // their texts, if they have no seq
			unread: 0,
		}
		views.set(name, v)
		for (const item of saved) v.log.add(item)
		return v
	}

	function show(name) {
		if (name) conn?.enter(name)
		here = view(name)
		if ($('log') !== here.log.box) $('log').replaceWith(here.log.box)
		here.log.flush()
		here.log.follow(true)
		address()
		mark()
		roster()
	}

	const note = (v, note, bad, seq) => v.log.add({ note, bad, seq })
	const rename = () => ask()
	const renames = named ? '' : 'Rename' // not a name that the server gives

	function state(textContent, button, onclick, className = '') {
		Object.assign($('state'), { textContent, className })
		Object.assign($('again'), { textContent: button, onclick, hidden: !button })
	}

	// mark shows the tabs and what is unread.
	function mark() {
		if (!document.hidden) here.unread = 0
		let unread = 0
		for (const v of views.values()) {
			unread += v.unread
			v.link.textContent = v.unread ? `${v.name} (${v.unread})` : v.name
			v.link.ariaCurrent = v === here ? 'page' : null
		}
		document.title = unread ? `(${unread}) ${title}` : title
		$('tabs').replaceChildren(...[...views.values()].map((v) => v.link))
		$('leave').hidden = views.size < 2
		here.link.scrollIntoView({ block: 'nearest' })
	}

	function roster() {
		due ||= requestAnimationFrame(() => {
			due = 0
			const { members, total } = conn?.rooms.get(here.name) ?? NOBODY()
			const who = [...members].sort(([, a], [, b]) => order(a, b)).slice(0, 500)
			$('members').replaceChildren(...who.map(([id, name]) => element('li', {}, hub
				? element('button', { title: 'Write to this member alone', onclick: () => address(id, name) }, element('bdi', {}, name))
				: element('bdi', {}, name))))
			$('here').textContent = $('people').textContent = `${total} here`
		})
	}
	const order = new Intl.Collator().compare

	// address says who gets the next message: all, or one.
	function address(id, name) {
		to = id && { id, name }
		text.placeholder = id ? `Message to ${name} alone` : 'Message'
		text.focus()
	}

	function ask(why = '') {
		$('why').textContent = why
		$('name').value = stored(local, myName)
		$('ask').showModal()
		$('name').select()
	}

	// track shows a message from send to its fate.
	function track(v, body, promise) {
		if (tracked.has(promise)) return
		tracked.add(promise)
		const line = v.log.pending({ id: conn.id, name: conn.name, text: body, time: Date.now(), own: true })
		promise.then((seq) => {
			if (v.placed.has(seq)) return v.log.remove(line) // its echo was faster
			seq ? v.placed.add(seq) : v.unplaced.push(body)
			v.log.settle(line, seq)
		}, ({ code }) => {
			const fate = code === 'uncertain' ? 'This may have been sent' : 'This was not sent'
			if (line.parentNode) v.log.settle(line, 0, element('small', {}, fate))
		})
	}

	// of returns the view of the room that an event is about, if it is about one.
	const of = ({ room = '' }) => room === '*' || hub && !room ? here : view(room)

	function message(e) {
		const v = of(e)
		const own = !e.history && e.from && e.from.id === conn.id
		if (own && e.type === 'message') {
			const at = v.unplaced.indexOf(e.body)
			if (at >= 0) return v.unplaced.splice(at, 1)
			if (v.placed.has(e.seq)) return
			v.placed.add(e.seq)
		}
		const { id, name } = e.from ?? { name: '(room)' }
		const direct = e.type === 'direct' && 'to you only'
		v.log.add({ id, name, text: e.body, time: Date.parse(e.time) || Date.now(), seq: e.room === '*' ? 0 : e.seq, own, direct })
		if (own || e.history || v === here && !document.hidden) return
		v.unread++
		mark()
	}

	function join(name) {
		conn?.close()
		for (const v of views.values()) {
			if (conn) v.log.clear()
			v.unplaced = []
			v.welcomed = false
		}
		const c = conn = new (hub ? Hub : Room)(url, { name, history: LINES })
		const on = (types, fn) => {
			for (const type of types.split(' ')) c.addEventListener(type, ({ detail }) => c === conn && fn(detail))
		}
		let lost = true // and the log says so, or says nothing yet
		let welcomed = false

		on('welcome', (e) => {
			if (e.room !== '*') {
				const v = of(e)
				if (/joined|expired|reset/.test(e.outcome)) v.placed = new Set() // another member's, or another epoch's
				if (e.outcome === 'joined') v.log.clear() // the history comes
				if (/expired|reset/.test(e.outcome)) note(v, 'Joined anew: messages may be missing', true)
				else if (v.welcomed) note(v, 'Connected again')
				v.welcomed = true
			}
			if (!hub || e.room === '*') {
				welcomed = true
				lost = false
				state(`You are ${e.name}`, renames, rename)
			}
			if (hub) c.request({ type: 'rooms' })
			roster()
		})
		on('message direct', message)
		on('join leave renamed', (e) => {
			const what = e.type === 'join' ? 'joined' : e.type === 'renamed' ? `is now \u2068${e.name}\u2069` : e.reason ? `left: ${e.reason}` : 'left'
			note(of(e), `\u2068${e.from.name}\u2069 ${what}`, false, e.seq) // isolated, as by bdi
			roster()
		})
		on('gap', (e) => note(of(e), e.skipped ? `Events missed: ${e.skipped}` : 'Events were missed', true))
		on('rooms', (e) => {
			$('rooms').replaceChildren(...e.rooms.map(({ name, members }) => element('option', { value: name, label: `${name} (${members})` })))
		})
		on('goodbye refused', (e) => {
			const why = e.reason || e.message || e.code
			if (c.state === 'open' && (e.type === 'refused' || e.room && e.room !== '*')) {
				note(of(e), `${e.type === 'refused' ? 'Not done' : 'The end'}: ${why}`, true)
				return roster()
			}
			if (!named && (e.code === 'name-invalid' || e.code === 'name-taken' && !welcomed)) {
				c.close()
				state('Not connected', 'Join', rename)
				return ask(why)
			}
			if (e.retry === false) state(`The end: ${why}`, 'Join again', () => join(c.name), 'bad')
			if (e.retry === false) roster()
			if (e.retry === false || !lost) note(here, `The end: ${why}`, true)
			lost = true
		})
		on('lost', (e) => {
			const why = e.text || (navigator.onLine ? 'Connection lost' : 'You are offline')
			if (!lost) note(here, why, true)
			lost = true
			state(`${why}. Trying again\u00a0…`, 'Try now', () => c.connect(), 'bad')
		})
		if (hub) for (const name of views.keys()) c.enter(name)
		c.connect().then(() => {
			for (const [name, { out }] of c.rooms) {
				if (name === '*') continue
				for (const m of out) track(view(name), m.text, m.promise)
				view(name)
			}
			mark()
		})
		state('Connecting …', renames, rename)
		text.focus()
	}

	$('people').onclick = () => ($('people').ariaExpanded = $('roster').classList.toggle('open'))
	$('news').onclick = () => {
		here.log.follow(true)
		text.focus()
	}
	$('say').onsubmit = (event) => {
		event.preventDefault()
		const body = text.value
		if (!body.trim() || !conn) return
		text.value = ''
		if (to) {
			conn.request({ type: 'direct', to: to.id, body })
			here.log.add({ id: conn.id, name: conn.name, text: body, time: Date.now(), own: true, direct: `to ${to.name} only` })
		} else track(here, body, conn.send(body, here.name))
		address()
	}
	text.onkeydown = (event) => {
		if (event.key === 'Escape') address()
		if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
		event.preventDefault()
		$('say').requestSubmit()
	}
	$('ask').onsubmit = (event) => {
		event.preventDefault()
		const name = $('name').value.trim().normalize('NFKC') // the form that rooms take
		$('ask').close()
		stored(local, myName, name)
		if (conn?.state === 'closed' || name !== conn?.name) join(name)
	}
	document.onvisibilitychange = () => {
		for (const v of views.values()) v.log.flush()
		mark()
	}
	addEventListener('pagehide', () => {
		for (const { name, log } of views.values()) {
			log.flush()
			stored(session, `${key} ${name}`, [...log.box.querySelectorAll('#log > :not(.pending)')].slice(-200).map((line) => line.item))
		}
	})

	// The room that is shown is in the address: so links lead to rooms, and back to the one before.
	const addressed = () => {
		try {
			return hub ? decodeURIComponent(location.hash.slice(1)) || home : ''
		} catch {
			return home
		}
	}
	$('nav').hidden = !hub
	onhashchange = () => hub && show(addressed())
	$('enter').onsubmit = (event) => {
		event.preventDefault()
		location.hash = encodeURIComponent($('room').value.trim())
		$('room').value = ''
	}
	$('room').onfocus = () => conn?.request({ type: 'rooms' })
	$('leave').onclick = () => {
		conn?.leave(here.name)
		views.delete(here.name)
		location.hash = encodeURIComponent([...views.keys()][0])
	}
	show(addressed())

	const name = stored(local, myName)
	state('', 'Join', rename)
	if (name || named) join(name)
	else ask()
}

const data = globalThis.document?.body.dataset
if (data?.tcproom) page(data.tcproom, data.named, data.hub)
