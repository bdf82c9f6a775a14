// The bounded map: order of use, both bounds, and the count of its bytes.

import fc from 'fast-check';
import t from 'tap';
import { Lru } from '../../../src/store/lru.ts';

t.test('forgets what was used longest ago', async (t) => {
  const lru = new Lru<number>({ maxEntries: 2, maxBytes: 100 });
  lru.set('a', 1);
  lru.set('b', 2);
  t.equal(lru.get('a'), 1);
  t.equal(lru.has('b'), true, 'which counts as no use');
  lru.set('c', 3);
  t.equal(lru.get('b'), undefined);
  t.equal(lru.get('a'), 1);
  t.equal(lru.get('c'), 3);
});

t.test('takes nothing larger than itself, and forgets what that would have replaced', async (t) => {
  const lru = new Lru<string>({ maxEntries: 9, maxBytes: 10 });
  lru.set('a', 'small', 4);
  lru.set('b', 'other', 4);
  lru.set('a', 'large', 11);
  t.equal(lru.get('a'), undefined);
  t.equal(lru.get('b'), 'other');
  t.equal(lru.bytes, 4);
});

t.test('is a list of the last used, within both bounds', async () => {
  const step = fc.record({
    key: fc.constantFrom(...'abcdefgh'),
    bytes: fc.nat(12),
    kind: fc.constantFrom('set', 'get', 'delete'),
  });
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const lru = new Lru<number>({ maxEntries: 4, maxBytes: 20 });
      // The same by brute force: newest last.
      let model: { key: string; bytes: number }[] = [];
      for (const { key, bytes, kind } of steps) {
        const held = model.find((item) => item.key === key);
        const others = model.filter((item) => item.key !== key);
        if (kind === 'set') {
          lru.set(key, bytes, bytes);
          model = [...others, { key, bytes }];
          while (model.length > 4 || model.reduce((sum, item) => sum + item.bytes, 0) > 20) model.shift();
        } else if (kind === 'get') {
          if (lru.get(key) !== held?.bytes) return false;
          if (held) model = [...others, held];
        } else {
          if (lru.delete(key) !== (held !== undefined)) return false;
          model = others;
        }
        const bytesHeld = model.reduce((sum, item) => sum + item.bytes, 0);
        if (lru.size !== model.length || lru.bytes !== bytesHeld || model.some((item) => !lru.has(item.key)))
          return false;
      }
      return true;
    }),
  );
});
