// Which form goes first, and how many bytes all take: against a brute-force model.

import fc from 'fast-check';
import t from 'tap';
import { type Entry, FormIndex } from '../../../src/store/form-index.ts';

const entryOf = (name: string, diskBytes: number): Entry => ({
  name,
  diskBytes,
  stampedAtMs: 0,
  pending: undefined,
  fileHash: undefined,
});
const names = (entries: readonly Entry[]): string[] => entries.map((entry) => entry.name);

t.test('evicts by use, pinned last, and never what just came', async (t) => {
  const index = new FormIndex(30);
  for (const name of ['a', 'b', 'c']) index.add(entryOf(name, 10));
  index.pin('a');
  index.touch('b');
  t.same(names(index.add(entryOf('d', 10))), ['c']);
  t.same(names(index.add(entryOf('e', 20))), ['b', 'd']);
  t.same(names(index.add(entryOf('f', 30))), ['e', 'a']);
  t.equal(index.bytes, 30);
});

t.test('counts pins, takes them before the form comes, and keeps them when it goes', async (t) => {
  const index = new FormIndex(20);
  index.pin('a');
  index.pin('a');
  index.unpin('a');
  index.add(entryOf('a', 10));
  index.add(entryOf('b', 10));
  t.same(names(index.shrink(20)), ['b'], 'a pinned form does not make room');
  t.same(names(index.add(entryOf('c', 20))), ['a']);
  t.same(names(index.add(entryOf('a', 10))), ['c']);
  index.add(entryOf('b', 10));
  t.same(names(index.shrink(1)), ['b']);
  index.unpin('a');
  t.same(names(index.shrink(1)), ['a']);
  index.unpin('a');
  t.equal(index.objects, 0);
});

t.test('an entry is removed once, and only while its name is its own', async (t) => {
  const index = new FormIndex(20);
  const [older, newer] = [entryOf('a', 5), entryOf('a', 7)];
  index.add(older);
  t.same(index.add(newer), []);
  t.equal(index.remove(older), false);
  t.equal(index.bytes, 7);
  t.equal(index.remove(newer), true);
  t.equal(index.remove(newer), false);
  t.equal(index.bytes, 0);
});

const name = fc.constantFrom(...'abcdef');
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('add'), name, bytes: fc.integer({ min: 1, max: 40 }) }) },
  fc.record({ kind: fc.constantFrom('touch', 'pin', 'unpin', 'remove', 'shrink'), name, bytes: fc.nat(60) }),
);

t.test('bytes, objects and order are those of a list', async () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const index = new FormIndex(50);
      const pins = new Map<string, number>();
      let model: Entry[] = [];
      const isPinned = (entry: Entry) => (pins.get(entry.name) ?? 0) > 0;
      const take = (victims: Entry[], enough: () => boolean): string[] => {
        const gone: string[] = [];
        for (const victim of victims) {
          if (enough()) break;
          model = model.filter((entry) => entry !== victim);
          gone.push(victim.name);
        }
        return gone;
      };
      const bytes = () => model.reduce((sum, entry) => sum + entry.diskBytes, 0);
      for (const { kind, name, bytes: amount } of steps) {
        const held = model.find((entry) => entry.name === name);
        const others = model.filter((entry) => entry.name !== name);
        let expected: string[] = [];
        let gone: Entry[] = [];
        if (kind === 'add') {
          const entry = entryOf(name, amount);
          gone = index.add(entry);
          model = [...others, entry];
          expected = take([...others.filter((e) => !isPinned(e)), ...others.filter(isPinned)], () => bytes() <= 50);
        } else if (kind === 'touch') {
          if (index.touch(name) !== held) return false;
          if (held) model = [...others, held];
        } else if (kind === 'pin') {
          index.pin(name);
          if (held && !isPinned(held)) model = [...others, held];
          pins.set(name, (pins.get(name) ?? 0) + 1);
        } else if (kind === 'unpin') {
          index.unpin(name);
          const left = Math.max(0, (pins.get(name) ?? 0) - 1);
          if (held && isPinned(held) && left === 0) model = [...others, held];
          pins.set(name, left);
        } else if (kind === 'remove') {
          if (held && !index.remove(held)) return false;
          model = others;
        } else {
          const target = bytes() - amount;
          gone = index.shrink(amount);
          expected = take(
            model.filter((e) => !isPinned(e)),
            () => bytes() <= target,
          );
        }
        if (names(gone).join() !== expected.join()) return false;
        if (index.bytes !== bytes() || index.objects !== model.length || index.bytes > 50) return false;
        if (model.some((entry) => index.get(entry.name) !== entry)) return false;
      }
      return true;
    }),
    { numRuns: 300 },
  );
});
