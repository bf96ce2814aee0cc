// The client of a tcproom chat room over WebSocket, and the page that is made of it.
//
//   import { Room } from './chat.js'
//   const room = new Room('ws', { name: 'ada' })   // relative to the page
//   room.addEventListener('message', ({ detail }) => show(detail.from?.name, detail.body))
//   room.connect()
//   const seq = await room.send('hi')
//
// Options: name, auth (a string for the room's own authentication), history (how many
// messages at most; default: all that the room gives), storage (default sessionStorage,
// null: none) and WebSocket (a class). Properties: id, name, members (a Map from ID to
// name: 256 at most are known), total, state ('new', 'connecting', 'open', 'lost' or
// 'closed'), pending (what send took and the room has not).
//
// Events are CustomEvents. The detail of welcome, message, direct, join, leave, gap,
// goodbye and refused is the object of docs/wire.md; a body that is no text is in bytes
// too. Beside these there are lost: { code, retry }, the connection is lost, and the next
// attempt is in so many milliseconds; and uncertain: { text, number }, nobody knows whether
// the room has got this message, which is not sent again. After a goodbye or refused
// with retry false, and after close(), nothing comes any more.
//
// A lost connection is made again and resumed: nothing is missed but for a gap, and
// each message is in the room once. That holds over a reload of the page too. A
// second tab with a copy of sessionStorage becomes a member of its own.

const FIRST = 100, MOST = 30_000, STABLE = 10_000 // of the backoff, in ms
const WINDOW = 256 // messages under way; the room knows the places of so many
const PATIENCE = 20_000 // for a welcome; after three times that of silence comes a ping

const failure = (code) => Object.assign(new Error(`tcproom: ${code}`), { code })

// claim takes the session of that name for this tab: it resolves to a function that gives
// it back, or to null if another tab has it. Without a secure context there are no locks.
function claim(name, isNew) {
  name = `tcproom ${name}`
  return new Promise((resolve) => {
    const { locks } = globalThis.navigator ?? {}
    if (locks) {
      const waiting = new AbortController()
      const timer = setTimeout(() => waiting.abort(), 500) // a reload's may be about to be free
      locks.request(name, { signal: waiting.signal }, () => {
        clearTimeout(timer)
        return new Promise(resolve)
      }).catch(() => resolve(null))
      return
    }
    const channel = new BroadcastChannel(name)
    let mine = isNew
    const take = () => {
      mine = true
      resolve(() => channel.close())
    }
    const timer = setTimeout(take, isNew ? 0 : 300)
    channel.onmessage = ({ data }) => {
      if (data === 'free?') return channel.postMessage('no')
      if (mine) return // the answer is for another tab
      clearTimeout(timer)
      channel.close()
      resolve(null)
    }
    if (!isNew) channel.postMessage('free?')
  })
}

export class Room extends EventTarget {
  id = ''
  members = new Map()
  total = 0
  state = 'new'

  #options
  #url
  #WebSocket
  #storage
  #session // what outlives a reload, and out: the messages without an ack, oldest first
  #release // gives back what claim took
  #ws
  #handed = 0 // how many of out were handed to the present connection
  #joined // the seq of the welcome: what comes up to it was missed
  #opened // when that was; 0: there is none
  #ceiling = 0 // of the backoff
  #timer // of the next attempt, or of the welcome
  #saving // timer
  #clock // interval
  #silence = 0 // ticks of the clock without a byte

  constructor(url, options = {}) {
    super()
    this.#url = new URL(url, globalThis.document?.baseURI)
    this.#url.protocol = this.#url.protocol.replace('http', 'ws')
    this.#options = options
    this.#WebSocket = options.WebSocket ?? globalThis.WebSocket
    this.name = options.name ?? ''
    try {
      this.#storage = options.storage === undefined ? globalThis.sessionStorage : options.storage
    } catch {} // cookies are blocked
    this.#session = fresh()
  }

  get pending() {
    return this.#session.out
  }

  // connect joins, or makes the next attempt at once. It resolves when the attempt has begun.
  async connect() {
    if (this.state === 'lost') return this.#dial()
    if (this.state !== 'new' && this.state !== 'closed') return
    this.state = 'connecting'
    const waiting = this.#session.out
    let old
    try {
      old = JSON.parse(this.#storage.getItem(this.#key))
    } catch {}
    let release = old && await claim(old.lease)
    const session = release ? { ...old, out: old.out.map(message) } : fresh()
    session.lease ??= Math.random().toString(36).slice(2)
    release ||= await claim(session.lease, true)
    if (this.#session.out !== waiting) return release?.() // closed meanwhile
    this.#release = release
    this.#session = session
    for (const m of waiting) this.#put(m)
    for (const [type, fn] of this.#signals) globalThis.addEventListener?.(type, fn)
    this.#dial()
  }

  // send takes a message, also while the connection is lost. It returns a promise of its
  // seq, 0 if the room tells none. It is rejected with an error whose code is 'closed', 'full'
  // (1000 messages wait), that of the end, or 'uncertain'.
  send(text) {
    const m = message({ text: text.toWellFormed?.() ?? text }) // half a surrogate pair is malformed
    if (this.state === 'closed') m.reject(failure('closed'))
    else if (this.#session.out.length >= 1000) m.reject(failure('full'))
    else {
      this.#put(m)
      this.#save()
      this.#pump()
    }
    return m.promise
  }

  // close leaves the room for good.
  close() {
    if (this.state === 'closed') return
    const ws = this.#ws
    this.#ws = null
    if (this.state === 'open') ws.send('{"type":"goodbye"}')
    ws?.close(1000)
    this.#finish('closed')
  }

  get #key() {
    return `tcproom ${this.#url.href}`
  }

  #signals = Object.entries({
    pagehide: () => this.#save(),
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
    if (!this.#session.lease) return // what is stored may be another tab's
    try {
      this.#storage.setItem(this.#key, JSON.stringify(this.#session))
    } catch {} // there is none, or it is full
  }

  #dial() {
    clearTimeout(this.#timer)
    this.state = 'connecting'
    const ws = this.#ws = new this.#WebSocket(this.#url.href, ['tcproom.json'])
    const { name, auth, history } = this.#options
    const { token, epoch, seq } = this.#session
    const resume = token ? { token, epoch, seq } : undefined
    const hello = { type: 'hello', name: name || undefined, auth, resume, history }
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
    const s = this.#session
    const seq = e.seq ?? e.last ?? 0
    switch (e.type) {
      case 'welcome':
        return this.#welcome(e)
      case 'ping':
        return this.#ws.send('{"type":"pong"}')
      case 'refused':
      case 'goodbye':
        this.#emit(e.type, e)
        if (this.state === 'closed') return
        if (e.retry === false) return this.#finish(e.code)
        return this.#lose(e.code, e.retryAfter)
      case 'ack':
        while (this.#handed && s.out[0].number <= e.id) {
          const m = s.out.shift()
          this.#handed--
          m.resolve(m.number === e.id ? seq : 0)
        }
        this.#pump()
        break
      case 'message':
        if (e.history && seq) {
          if (seq <= s.seen) return // before the connection was lost
          s.seen = seq
        }
        break
      case 'join':
      case 'leave': {
        const { id, name } = e.from
        if (seq && seq <= this.#joined) break // the members of the welcome are newer
        if (e.type === 'leave') this.total -= 1
        else if (!this.members.has(id)) this.total += 1
        if (e.type === 'leave') this.members.delete(id)
        else this.members.set(id, name)
        break
      }
      case 'gap':
      case 'direct':
        break
      default:
        return
    }
    if (!e.history && seq > s.seq) s.seq = s.seen = seq
    this.#saving ||= setTimeout(() => this.#save(), 200)
    if (e.type !== 'ack') this.#emit(e.type, e)
  }

  #welcome(e) {
    clearTimeout(this.#timer)
    const s = this.#session
    const resumed = s.token && (e.outcome === 'resumed' || e.outcome === 'gap')
    let unsure = []
    if (!resumed) {
      if (s.epoch !== e.epoch) s.seen = 0
      s.seq = e.seq ?? 0
      unsure = s.out.filter((m) => m.given)
      s.out = s.out.filter((m) => !m.given)
    }
    s.token = e.token
    s.epoch = e.epoch
    // lastId: an earlier page may have given numbers that are not stored.
    s.last = Math.max(e.lastId ?? 0, ...s.out.filter((m) => m.given).map((m) => m.number))
    for (const m of s.out) if (!m.given) m.number = ++s.last
    this.id = e.id
    this.name = e.name
    this.members = new Map(e.members?.map((m) => [m.id, m.name]))
    this.total = e.total
    this.#joined = e.seq ?? 0
    this.#opened = Date.now()
    this.state = 'open'
    this.#clock = setInterval(() => this.#tick(), PATIENCE)
    this.#save()
    this.#emit('welcome', e)
    this.#doubt(unsure)
    this.#pump()
  }

  // doubt reports messages of which nobody knows whether the room has them.
  #doubt(list) {
    for (const m of list) {
      m.reject(failure('uncertain'))
      this.#emit('uncertain', { text: m.text, number: m.number })
    }
  }

  // pump hands the connection what there is to be sent.
  #pump() {
    if (this.state !== 'open') return
    const { out, token } = this.#session
    const batch = out.slice(this.#handed, token ? WINDOW : undefined)
    if (!batch.length) return
    for (const m of batch) m.given = true
    this.#handed += batch.length
    this.#save() // before the room can have them
    for (const m of batch) {
      this.#ws.send(JSON.stringify({ type: 'message', id: token ? m.number : undefined, body: m.text }))
    }
    if (token) return
    this.#handed = 0
    for (const m of out.splice(0)) m.resolve(0)
    this.#save()
  }

  #tick() {
    this.#silence++
    if (this.#silence > 3) this.#lose('idle-timeout')
    else if (this.#silence === 3) this.#ask()
  }

  // ask wants a sign of life before the next tick.
  #ask() {
    this.#silence = 3
    this.#ws.send('{"type":"ping"}')
  }

  // stop ends the connection, if there is one, and everything that waits.
  #stop() {
    const ws = this.#ws
    this.#ws = null
    ws?.close(4000, 'lost') // not 1000: that would be a goodbye
    this.#handed = 0
    clearTimeout(this.#timer)
    clearInterval(this.#clock)
  }

  #lose(code, hint = 0) {
    if (this.state !== 'open' && this.state !== 'connecting') return
    this.#stop()
    if (!this.#ceiling || this.#opened && Date.now() - this.#opened >= STABLE) this.#ceiling = FIRST
    else this.#ceiling = Math.min(this.#ceiling * 2, MOST)
    this.#opened = 0
    const ceiling = Math.max(this.#ceiling, Math.min(hint, MOST))
    const retry = Math.min(Math.random() * ceiling + hint, 2 ** 31 - 1) // the most that timers know
    this.state = 'lost'
    this.#timer = setTimeout(() => this.#dial(), retry)
    this.#emit('lost', { code, retry })
  }

  // finish is the end for good.
  #finish(code) {
    const { out } = this.#session
    this.state = 'closed'
    this.#stop()
    clearTimeout(this.#saving)
    try {
      this.#storage.removeItem(this.#key)
    } catch {}
    this.#release?.()
    this.#session = fresh()
    for (const [type, fn] of this.#signals) globalThis.removeEventListener?.(type, fn)
    for (const m of out) if (!m.given) m.reject(failure(code))
    this.#doubt(out.filter((m) => m.given))
  }
}

const fresh = () => ({ seq: 0, seen: 0, last: 0, out: [] })

// message gives a message of pending its promise, which JSON leaves out.
function message({ number, text, given }) {
  const m = { number, text, given }
  const promise = new Promise((resolve, reject) => Object.defineProperties(m, { resolve: { value: resolve }, reject: { value: reject } }))
  promise.catch(() => {}) // nobody has to wait for it
  return Object.defineProperty(m, 'promise', { value: promise })
}
