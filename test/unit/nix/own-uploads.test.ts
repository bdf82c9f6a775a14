// What our own store cannot take is a 403 that Nix prints once, and a line in the log that says why.

import type { AddressInfo } from 'node:net';
import Fastify from 'fastify';
import t, { type Test } from 'tap';
import { systemClock } from '../../../src/core/clock.ts';
import { CleanmissError } from '../../../src/core/errors.ts';
import { openGate } from '../../../src/gate/gate.ts';
import type { OwnUploadPorts } from '../../../src/nix/own-uploads.ts';
import { ownWrites } from '../../../src/nix/own-writes.ts';
import type { WritePorts } from '../../../src/nix/writes.ts';
import { put } from '../../support/http-client.ts';
import { CollectedLog } from '../../support/store-rig.ts';

/** A front whose records fail with this. */
const listening = async (t: Test, error: Error) => {
  const log = new CollectedLog();
  const infos = {
    get: () => Promise.resolve(undefined),
    put: () => Promise.reject(error),
    delete: () => Promise.reject(error),
  };
  const parts = { clock: systemClock, gate: openGate(), log, infos, idleMs: 10_000 };
  // nix-cache-info needs no other part.
  const app = Fastify();
  ownWrites(parts as unknown as WritePorts & OwnUploadPorts)(app);
  t.teardown(() => app.close());
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as AddressInfo;
  return { log, ask: () => put(`http://127.0.0.1:${port}/nix-cache-info`, 'StoreDir: /nix/store\n') };
};

for (const code of ['DISK', 'BUSY'])
  t.test(`${code} is told to the log, with its cause`, async (t) => {
    const { log, ask } = await listening(t, new CleanmissError(code, 'self', 'ENOSPC: no space left'));
    const { status, body } = await ask();
    t.equal(status, 403);
    t.notMatch(body.toString(), 'ENOSPC');
    t.match(log.lines, [{ fields: { err: { message: /ENOSPC/ }, url: '/nix-cache-info' } }]);
    t.equal(log.lines.length, 1);
  });

t.test('what nobody expected breaks the connection off, and is told to the log', async (t) => {
  const { log, ask } = await listening(t, new TypeError('a bug'));
  t.equal((await ask()).complete, false);
  t.match(log.lines, [{ fields: { err: { message: 'a bug' } }, message: 'nix: an upload failed' }]);
});
