// Range headers against a body of 1000 bytes.

import t from 'tap';
import { readRange } from '../../../src/nix/range.ts';

t.test('ranges', async (t) => {
  for (const [header, expected, reason] of [
    [undefined, 'whole', 'none'],
    ['bytes=0-', '0-1000', 'from the first byte'],
    ['bytes=999-', '999-1000', 'the last byte'],
    ['bytes=10-19', '10-20', 'both ends are inclusive'],
    ['bytes=10-5000', '10-1000', 'an end past the end'],
    ['bytes=-10', '990-1000', 'the last ten'],
    ['bytes=-5000', '0-1000', 'more than there is'],
    ['BYTES=1-2', '1-3', 'units have no case'],
    ['bytes=1000-', 'outside', 'at the end'],
    ['bytes=9999999999999999-', 'outside', 'far past the end'],
    ['bytes=-0', 'outside', 'no bytes'],
    ['bytes=20-10', 'malformed', 'backwards'],
    ['bytes=-', 'malformed', 'no number'],
    ['bytes=0-1,5-6', 'malformed', 'two ranges'],
    ['items=0-5', 'malformed', 'another unit'],
    ['bytes=1e3-', 'malformed', 'no whole number'],
    ['bytes=99999999999999999999-', 'malformed', 'more digits than any body has'],
  ] as const) {
    const answer = readRange(header, 1000);
    t.equal(answer.kind === 'range' ? `${answer.range.start}-${answer.range.end}` : answer.kind, expected, reason);
  }
});
