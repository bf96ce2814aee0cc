// The client of a tcproom room over WebSocket, for any page, and the page made of it. What
// the class Room has for other pages stands in docs/http.md, "The page and its module".

const FIRST = 100, MOST = 30_000, STABLE = 10_000 // ms, of the backoff
const WINDOW = 256 // messages under way: the room knows the places of so many
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

export class Room extends EventTarget {
	id = ''
	members = new Map()
	total = 0
	state = 'new'

	#options
	#url
	#storage
	#key
	#session = fresh() // outlives a reload; out: messages without an ack, oldest first
	#channel
	#ws
	#handed = 0 // of out, to this connection
	#welcomed // seq of the welcome: up to it comes what was missed
	#opened = Infinity
	#ceiling = 0 // of the backoff
	#timer // of the next attempt, or of the welcome
	#saving
	#clock
	#silence = 0 // ticks of the clock

	constructor(url, options = {}) {
		super()
		this.#url = new URL(url, globalThis.document?.baseURI)
		this.#url.protocol = this.#url.protocol.replace('http', 'ws')
		this.#options = options
		this.#key = `tcproom ${this.#url}`
		this.name = options.name ?? ''
		this.#storage = 'storage' in options ? () => options.storage : session
	}

	get pending() {
		return this.#session.out
	}

	// connect joins, or makes the next attempt at once. It resolves when that has begun.
	async connect() {
		if (this.state === 'lost') return this.#dial()
		if (!/new|closed/.test(this.state)) return
		this.state = 'connecting'
		const waiting = this.#session.out
		const old = stored(this.#storage, this.#key)
		let channel = old && await claim(old.lease)
		const s = channel ? old : { ...fresh(), lease: Math.random() }
		channel ||= await claim(s.lease, true)
		if (this.#session.out !== waiting) return channel.close() // closed meanwhile
		this.#channel = channel
		this.#session = s
		s.out.forEach(message)
		for (const m of waiting) this.#put(m)
		for (const [type, fn] of this.#signals) globalThis.addEventListener?.(type, fn)
		this.#dial()
	}

	// send takes a message, also while the connection is lost. It returns a promise of its seq, 0
	// if the room tells none, or an error whose code is 'uncertain' or that of the end.
	send(text) {
		const m = message({ text: text.toWellFormed?.() ?? text })
		if (this.state === 'closed') m.reject(failure('closed'))
		else {
			this.#put(m)
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

	#put(m) {
		m.number = ++this.#session.last
		this.#session.out.push(m)
	}

	#save() {
		clearTimeout(this.#saving)
		this.#saving = 0
		if (this.#session.lease) stored(this.#storage, this.#key, this.#session) // else not claimed
	}

	#dial() {
		clearTimeout(this.#timer)
		this.state = 'connecting'
		const { name, auth, history, WebSocket = globalThis.WebSocket } = this.#options
		const { token, epoch, seq, seen } = this.#session
		const resume = token && { token, epoch, seq }
		const since = seen ? { epoch, seq: seen } : undefined // if it joins anew
		const ws = this.#ws = new WebSocket(this.#url.href, ['tcproom.json'])
		ws.onopen = () => ws.send(JSON.stringify({ type: 'hello', name: name || undefined, auth, resume, since, history }))
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
		const s = this.#session
		const seq = e.seq ?? e.last ?? 0
		switch (e.type) {
			case 'welcome':
				return this.#welcome(e)
			case 'refused':
			case 'goodbye':
				this.#emit(e.type, e)
				if (this.state === 'closed') return
				if (e.retry === false) return this.#finish(e.code)
				return this.#lose(e.code, e.reason ?? e.message, e.retryAfter)
			case 'ack':
				while (this.#handed && s.out[0].number <= e.id) {
					const m = s.out.shift()
					this.#handed--
					m.resolve(m.number === e.id ? seq : 0)
				}
				this.#pump()
				break
			case 'gap':
			case 'message':
				if (seq && (e.history || e.type === 'gap')) {
					if (seq <= s.seen) return // before the connection was lost
					s.seen = seq
				}
				break
			case 'join':
			case 'leave':
				if (seq && seq <= this.#welcomed) break // the members of the welcome are newer
				this.total += e.type === 'join' ? !this.members.has(e.from.id) : -1
				if (e.type === 'join') this.members.set(e.from.id, e.from.name)
				else this.members.delete(e.from.id)
		}
		if (!e.history && seq > s.seq) s.seq = s.seen = seq
		this.#saving ||= setTimeout(() => this.#save(), 200)
		if (e.type !== 'ack') this.#emit(e.type, e)
	}

	#welcome(e) {
		clearTimeout(this.#timer)
		const { id, name, total, seq = 0 } = e
		const s = this.#session
		const resumed = s.token && /^(resumed|gap)$/.test(e.outcome)
		const unsure = resumed ? [] : s.out.filter((m) => m.given)
		if (!resumed) {
			if (s.epoch !== e.epoch) s.seen = 0
			s.seq = seq
			s.out = s.out.filter((m) => !m.given)
		}
		Object.assign(s, { token: e.token, epoch: e.epoch })
		// An earlier page may have given numbers up to lastId that were not stored.
		s.last = Math.max(e.lastId ?? 0, ...s.out.filter((m) => m.given).map((m) => m.number))
		for (const m of s.out) if (!m.given) m.number = ++s.last
		Object.assign(this, { id, name, total, state: 'open', members: new Map(e.members?.map((m) => [m.id, m.name])) })
		this.#welcomed = seq
		this.#opened = Date.now()
		this.#clock = setInterval(() => {
			if (++this.#silence === 3) this.#ask()
			else if (this.#silence > 3) this.#lose('idle-timeout')
		}, PATIENCE)
		this.#save()
		this.#emit('welcome', e)
		this.#doubt(unsure)
		this.#pump()
	}

	// doubt reports messages that the room may have.
	#doubt(list) {
		for (const m of list) {
			m.reject(failure('uncertain'))
			this.#emit('uncertain', { number: m.number, text: m.text })
		}
	}

	#pump() {
		if (this.state !== 'open') return
		const { out, token } = this.#session
		const batch = out.slice(this.#handed, token ? WINDOW : undefined)
		if (!batch.length) return
		for (const m of batch) m.given = true
		this.#handed += batch.length
		this.#save() // before the room can have them
		for (const m of batch) {
			this.#ws.send(JSON.stringify({ type: 'message', id: token && m.number, body: m.text }))
			if (!token) m.resolve(0)
		}
		if (token) return
		this.#session.out = []
		this.#handed = 0
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
		this.#handed = 0
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
		const { out } = this.#session
		Object.assign(this, { state: 'closed', members: new Map(), total: 0 })
		this.#stop()
		if (this.#channel) stored(this.#storage, this.#key, null)
		this.#channel?.close()
		this.#channel = null
		this.#session = fresh()
		for (const [type, fn] of this.#signals) globalThis.removeEventListener?.(type, fn)
		for (const m of out) if (!m.given) m.reject(failure(code))
		this.#doubt(out.filter((m) => m.given))
	}
}

const fresh = () => ({ seq: 0, seen: 0, last: 0, out: [] })

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
			news.hidden ||= near
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
		this.news.hidden = false
		this.follow()
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
		this.news.hidden = true
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
		const who = element('bdi', { className: 'who' }, name, direct ? ' (to you only)' : '')
		let hue = 0
		for (const c of name) hue = (hue * 31 + c.codePointAt()) % 360
		who.style.setProperty('--hue', hue)
		const today = new Date(time).toDateString() === new Date().toDateString()
		const text = element('p', { className: 'text', dir: 'auto' }, ...linked(item.text))
		return element('div', { className: own ? 'said own' : 'said', item }, who, element('small', {}, (today ? clock : full).format(time)), text)
	}
}

function page(url, named) {
	const $ = (id) => document.getElementById(id)
	const text = $('text')
	const { title } = document
	const log = new Log($('log'), $('news'))
	const key = `tcproom log ${document.baseURI}`
	const local = () => localStorage
	const myName = 'tcproom name'
	let room
	const tracked = new WeakSet() // promises of send
	const saved = stored(session, key) ?? [] // of the page before
	let placed = new Set(saved.map((item) => item.own && item.seq)) // of own messages with a line
	let unplaced = [] // their texts, if they have no seq
	let unread = 0
	let due = 0 // the roster's next frame

	const note = (note, bad, seq) => log.add({ note, bad, seq })
	const rename = () => ask()
	const renames = named ? '' : 'Rename' // not a name that the server gives

	function state(textContent, button, onclick, className = '') {
		Object.assign($('state'), { textContent, className })
		Object.assign($('again'), { textContent: button, onclick, hidden: !button })
	}

	function roster() {
		due ||= requestAnimationFrame(() => {
			due = 0
			const names = [...room.members.values()].sort(new Intl.Collator().compare).slice(0, 500)
			$('members').replaceChildren(...names.map((name) => element('li', {}, element('bdi', {}, name))))
			$('here').textContent = $('people').textContent = `${room.total} here`
		})
	}

	function ask(why = '') {
		$('why').textContent = why
		$('name').value = stored(local, myName)
		$('ask').showModal()
		$('name').select()
	}

	// track shows a message from send to its fate.
	function track(body, promise) {
		if (tracked.has(promise)) return
		tracked.add(promise)
		const line = log.pending({ id: room.id, name: room.name, text: body, time: Date.now(), own: true })
		promise.then((seq) => {
			if (placed.has(seq)) return log.remove(line) // its echo was faster
			seq ? placed.add(seq) : unplaced.push(body)
			log.settle(line, seq)
		}, ({ code }) => {
			const fate = code === 'uncertain' ? 'This may have been sent' : 'This was not sent'
			if (line.isConnected) log.settle(line, 0, element('small', {}, fate))
		})
	}

	function message(e) {
		const own = !e.history && e.from && e.from.id === room.id
		if (own && e.type === 'message') {
			const at = unplaced.indexOf(e.body)
			if (at >= 0) return unplaced.splice(at, 1)
			if (placed.has(e.seq)) return
			placed.add(e.seq)
		}
		const { id, name } = e.from ?? { name: '(room)' }
		log.add({ id, name, text: e.body, time: Date.parse(e.time) || Date.now(), seq: e.seq, own, direct: e.type === 'direct' })
		if (document.hidden && !own && !e.history) document.title = `(${++unread}) ${title}`
	}

	function join(name) {
		if (room) {
			room.close()
			log.clear()
			unplaced = []
		}
		const r = room = new Room(url, { name, history: LINES })
		const on = (types, fn) => {
			for (const type of types.split(' ')) r.addEventListener(type, ({ detail }) => r === room && fn(detail))
		}
		let lost = true // and the log says so, or says nothing yet
		let welcomed = false

		on('welcome', (e) => {
			if (/joined|expired/.test(e.outcome)) placed = new Set() // another member's, or another epoch's
			if (e.outcome === 'joined') log.clear() // the history comes
			if (e.outcome === 'expired') note('Joined anew: messages may be missing', true)
			else if (welcomed) note('Connected again')
			welcomed = true
			lost = false
			state(`You are ${e.name}`, renames, rename)
			roster()
		})
		on('message direct', message)
		on('join leave', ({ type, from, seq, reason }) => {
			const what = type === 'join' ? 'joined' : reason ? `left: ${reason}` : 'left'
			note(`\u2068${from.name}\u2069 ${what}`, false, seq) // isolated, as by bdi
			roster()
		})
		on('gap', ({ first, last }) => note(`Events missed: ${last - first + 1}`, true))
		on('goodbye refused', (e) => {
			const why = e.reason || e.message || e.code
			if (!named && (e.code === 'name-invalid' || e.code === 'name-taken' && !welcomed)) {
				r.close()
				state('Not connected', 'Join', rename)
				return ask(why)
			}
			if (e.retry === false) state(`The end: ${why}`, 'Join again', () => join(r.name), 'bad')
			if (e.retry === false) roster()
			if (e.retry === false || !lost) note(`The end: ${why}`, true)
			lost = true
		})
		on('lost', (e) => {
			const why = e.text || (navigator.onLine ? 'Connection lost' : 'You are offline')
			if (!lost) note(why, true)
			lost = true
			state(`${why}. Trying again\u00a0…`, 'Try now', () => r.connect(), 'bad')
		})
		r.connect().then(() => {
			for (const m of r.pending) track(m.text, m.promise)
		})
		state('Connecting …', renames, rename)
		text.focus()
	}

	$('people').onclick = () => ($('people').ariaExpanded = $('roster').classList.toggle('open'))
	$('news').onclick = () => {
		log.follow(true)
		text.focus()
	}
	$('say').onsubmit = (event) => {
		event.preventDefault()
		const body = text.value
		if (!body.trim() || !room) return
		text.value = ''
		track(body, room.send(body))
		text.focus()
	}
	text.onkeydown = (event) => {
		if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
		event.preventDefault()
		$('say').requestSubmit()
	}
	$('ask').onsubmit = (event) => {
		event.preventDefault()
		const name = $('name').value.trim().normalize('NFKC') // the form that rooms take
		$('ask').close()
		stored(local, myName, name)
		if (room?.state === 'closed' || name !== room?.name) join(name)
	}
	document.onvisibilitychange = () => {
		log.flush()
		if (document.hidden) return
		unread = 0
		document.title = title
	}
	addEventListener('pagehide', () => {
		log.flush()
		stored(session, key, [...log.box.querySelectorAll('#log > :not(.pending)')].slice(-200).map((line) => line.item))
	})

	for (const item of saved) log.add(item)
	const name = stored(local, myName)
	state('', 'Join', rename)
	if (name || named) join(name)
	else ask()
}

const data = globalThis.document?.body.dataset
if (data?.tcproom) page(data.tcproom, data.named)
