// Run it with: node --test chat.test.mjs
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { afterEach, test } from 'node:test';
import { Chat } from './chat.mjs';
import { Fake } from './fake.mjs';

let fake, chat;

afterEach(async () => {
  chat?.close();
  await fake?.stop();
});

// open starts a fake with a script, and a client of it.
async function open(script) {
  fake = await Fake.start(script);
  chat = new Chat({ ...fake, name: 'ada' });
}

test('a conversation', { timeout: 30_000 }, async () => {
  await open(`
codec: json
members:
  - name: broker
    rules:
      - on: {messageLike: '^!price (\\w+)$'}
        do: {say: "$from, a $1 is 3"}
expect:
  - {await: {joined: ada}, within: 5s}
  - {await: {message: {from: ada, body: '!price pear'}}, within: 5s}
`);
  chat.say('!price pear');
  assert.deepEqual(await once(chat, 'message'), ['broker', 'ada, a pear is 3']);

  // Something that no rule says, now.
  const comes = once(chat, 'message');
  await fake.do({ as: 'broker', do: { say: 'we close' } });
  assert.deepEqual(await comes, ['broker', 'we close']);

  assert.equal(await fake.transcript(), [
    '   1  * broker joined',
    '   2  * ada joined',
    '   3  ada: !price pear',
    '   4  broker: ada, a pear is 3',
    '   5  broker: we close',
    ''].join('\n'));
  const status = await fake.stop();
  assert.ok(status.held, fake.stderr);
  assert.equal(status.exit, 0);
});

test('a slow network, and one that breaks', { timeout: 30_000 }, async () => {
  await open(`
codec: json
connections:
  - {number: 1, out: {cutAfter: 100}}  # within the welcome
  - {number: 2, refuse: true}
  - {out: {latency: 100ms, chop: 3}}
members:
  - name: echo
    rules: [{on: {messageLike: ''}, do: echo}]
`);
  chat.say('kept until the room is there');
  await once(chat, 'lost');
  await once(chat, 'lost');
  const began = performance.now();
  assert.deepEqual(await once(chat, 'message'), ['echo', 'kept until the room is there']);
  assert.ok(performance.now() - began >= 99, 'the latency'); // timers of Node are a little early
  const { connections } = await fake.status();
  assert.deepEqual(connections.map((c) => c.name), ['', '', 'ada']);

  // Now the connection that works breaks too.
  const lost = once(chat, 'lost'); // before the request, whose answer may be slower
  await fake.do({ do: { fault: { name: 'ada', reset: true } } });
  await lost;
  await once(chat, 'here');
});

test('an expectation that fails is reported', { timeout: 30_000 }, async () => {
  await open(`
codec: json
expect:
  - {await: {message: {from: ada, body: hello}}, within: 200ms}
`);
  chat.say('helo');
  await once(chat, 'here');
  const answer = await fake.expect({ await: { message: 'hello' }, within: '100ms' });
  assert.equal(answer.held, false);
  assert.equal(answer.nearest.body, 'helo');

  const status = await fake.stop();
  assert.equal(status.held, false);
  assert.match(status.failures[0].what, /await message ada: hello: it did not come/);
  assert.equal(status.exit, 1);
});

test('lives of one fake', { timeout: 30_000 }, async () => {
  await open('codec: json');
  await once(chat, 'here');
  const lost = once(chat, 'lost'), here = once(chat, 'here');
  const was = await fake.reset('codec: json\nmembers: [{name: bob}]');
  assert.deepEqual([was.held, was.life, fake.life], [true, 1, 2]);
  await lost;
  assert.deepEqual(await here, [['bob', 'ada']]);
});

test('a client that breaks the protocol is reported', { timeout: 30_000 }, async () => {
  await open('codec: json');
  await once(chat, 'here');
  chat.socket.write('this is no JSON\n');
  await once(chat, 'lost');
  const status = await fake.stop();
  assert.match(status.failures[0].what, /connection 1, of "ada", broke the protocol \(lines json\): malformed/);
});
