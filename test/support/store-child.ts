// A process of its own that owns a directory or fills it, says `ready`, and then waits to be killed.

import { systemClock } from '../../src/core/clock.ts';
import { FormStore } from '../../src/store/forms.ts';
import { ownDirectory } from '../../src/store/owner.ts';
import { RecordStore } from '../../src/store/records.ts';
import { identityBody, keep } from './store-rig.ts';

const [, , task = '', dir = ''] = process.argv;
const options = { dir, clock: systemClock, durable: true, log: { warn: console.error } };

const tasks: Record<string, () => Promise<unknown>> = {
  own: () => ownDirectory(dir),
  async fill() {
    const store = await FormStore.open({ ...options, maxBytes: 1e9, memoryBytes: 1e6, freeBytesFloor: 0 });
    const records = await RecordStore.open(options);
    await store.spool().append(identityBody('spooled', 6_000_000).bytes);
    await Promise.all([
      keep(store, identityBody('small', 5000)),
      keep(store, identityBody('large', 3_000_000)),
      records.put('a', { n: 1 }),
      records.put('b', 'two'),
      records.put('a', { n: 2 }),
    ]);
  },
};

await tasks[task]?.();
console.log('ready');
setInterval(() => {}, 1 << 30);
