// A small chat client, which the tests beside it are for. It speaks lines of JSON, and
// comes back when it has lost its connection.
import { EventEmitter } from 'node:events';
import { createConnection } from 'node:net';

export class Chat extends EventEmitter {
  constructor({ host, port, name, retry = 20 }) {
    super();
    Object.assign(this, { host, port, name, retry, closed: false, waiting: [] });
    this.connect();
  }

  connect() {
    this.here = false;
    this.socket = createConnection(this.port, this.host, () => this.send({ type: 'hello', name: this.name }));
    this.socket.setNoDelay(true);
    let text = '';
    this.socket.setEncoding('utf8').on('data', (more) => {
      const lines = (text + more).split('\n');
      text = lines.pop(); // a line that has not ended; lost with its connection
      lines.forEach((line) => this.receive(line));
    });
    this.socket.on('error', () => {}); // 'close' comes behind it
    this.socket.on('close', () => {
      if (this.closed) return;
      this.emit('lost');
      this.timer = setTimeout(() => this.connect(), this.retry);
    });
  }

  receive(line) {
    const event = JSON.parse(line);
    if (event.type === 'welcome') {
      this.here = true;
      this.emit('here', event.members.map((m) => m.name));
      for (const body of this.waiting.splice(0)) this.say(body);
    }
    if (event.type === 'message') this.emit('message', event.from?.name ?? '*', event.body);
  }

  // say sends a message, or keeps it until there is a connection.
  say(body) {
    if (this.here && !this.socket.destroyed) this.send({ type: 'message', body });
    else this.waiting.push(body);
  }

  send(request) { this.socket.write(JSON.stringify(request) + '\n'); }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.socket.destroy();
  }
}
