// Starts tcproom fake for a test, and drives it. It needs Node 18 and no package.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

export class Fake {
  // start returns a fake that plays the script, YAML, when it is ready. The command is
  // tcproom, or what the environment variable TCPROOM says.
  static async start(script = '') {
    // The fake ends when its standard input does, so it does not outlive this process.
    const child = spawn(process.env.TCPROOM ?? 'tcproom', ['fake', '-until-eof', '-e', script], { stdio: ['pipe', 'pipe', 'pipe'] });
    const fake = new Fake(child);
    const ready = await Promise.race([
      once(createInterface({ input: child.stdout }), 'line').then(([line]) => line),
      once(child, 'close'), // also rejects if the command cannot be started
    ]);
    if (typeof ready !== 'string') throw new Error(`tcproom fake has not started: ${fake.stderr}`);
    Object.assign(fake, JSON.parse(ready)); // host, port, control, …
    fake.hold('unref'); // a test that forgets to stop it can end
    return fake;
  }

  constructor(child) {
    this.child = child;
    this.ended = new Promise((resolve) => child.once('close', resolve));
    this.stderr = '';
    child.stderr.on('data', (text) => { this.stderr += text; });
  }

  // hold says by ref or unref whether Node waits for the process.
  hold(how) { [this.child, ...this.child.stdio].forEach((part) => part[how]()); }

  // do makes a bot, or without `as` the room itself, do something: {as: 'ada', do: {say: 'hi'}}.
  do(request) { return this.request('POST', '/do', request); }

  // expect waits for what clients do: {await: {message: 'hi'}, within: '5s'}.
  // It resolves to the answer, in which `held` says whether it came.
  expect(request) { return this.request('POST', '/expect', request); }

  // status is whether the script has held so far, and who is there.
  status() { return this.request('GET', '/status'); }

  // transcript is all that has happened in the room, as text or as events.
  async transcript() { return (await fetch(`${this.control}/transcript?format=text`)).text(); }
  async events(since = 0) {
    const text = await (await fetch(`${this.control}/transcript?since=${since}`)).text();
    return text.split('\n').filter(Boolean).map((line) => JSON.parse(line));
  }

  // reset ends this life and begins the next, of the same script or of another. It
  // resolves to the last status of the life that has ended.
  async reset(script) {
    const { was, ...ready } = await this.request('POST', '/reset', script, 'application/yaml');
    Object.assign(this, ready);
    return was;
  }

  // stop ends the fake. It resolves to the last status, with the process's exit status.
  async stop() {
    if (this.child.exitCode !== null) return null;
    this.hold('ref');
    const status = await this.request('POST', '/stop');
    return { ...status, exit: await this.ended };
  }

  async request(method, path, body, type = 'application/json') {
    const answer = await fetch(this.control + path, {
      method,
      headers: body ? { 'Content-Type': type } : {},
      body: typeof body === 'object' ? JSON.stringify(body) : body,
    });
    const value = await answer.json();
    if (!answer.ok) throw new Error(`${method} ${path}: ${value.detail}`);
    return value;
  }
}
