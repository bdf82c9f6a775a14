// Who can reach an address, and how it is written.

import t from 'tap';
import { isLoopback, isWildcard, spellListen } from '../../../src/core/listen.ts';

t.test('loopback', (t) => {
  const rows: { host: string; is: boolean; reason: string }[] = [
    { host: '127.0.0.1', is: true, reason: 'the usual' },
    { host: '127.255.0.9', is: true, reason: 'all of 127/8' },
    { host: '::1', is: true, reason: 'IPv6' },
    { host: '0:0:0:0:0:0:0:1', is: true, reason: 'IPv6 in full' },
    { host: '::ffff:127.0.0.1', is: true, reason: 'IPv4 in IPv6' },
    { host: 'localhost', is: true, reason: 'the one name' },
    { host: '0.0.0.0', is: false, reason: 'everywhere' },
    { host: '::', is: false, reason: 'everywhere, IPv6' },
    { host: '::ffff:10.0.0.1', is: false, reason: 'a network in IPv6' },
    { host: '128.0.0.1', is: false, reason: 'a network' },
    { host: '127.0.0.1.example', is: false, reason: 'a name that begins like one' },
  ];
  for (const { host, is, reason } of rows) t.equal(isLoopback(host), is, reason);
  t.end();
});

t.test('spelling', (t) => {
  t.equal(spellListen({ host: '::1', port: 1 }), '[::1]:1');
  t.equal(spellListen({ host: '127.0.0.1', port: 1 }), '127.0.0.1:1');
  t.ok(isWildcard('::') && isWildcard('0.0.0.0') && !isWildcard('::1'));
  t.end();
});
