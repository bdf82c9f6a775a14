// The open gate refuses nothing.

import t from 'tap';
import { openGate } from '../../../src/gate/gate.ts';

t.test('open', async (t) => {
  const write = { front: 'nix', tenant: 'main', operation: 'PUT /:cache/*' } as const;
  t.strictSame(await openGate().decide(write), { allow: true });
  t.strictSame(await openGate().decide(write, AbortSignal.abort()), { allow: true });
});
