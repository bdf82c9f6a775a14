// Wherever a narinfo says that its NAR lies, what a client gets under the URL that we give it is proven, or a miss.

import t, { type Test } from 'tap';
import { makeObject } from '../support/cache-object.ts';
import { narinfoField } from '../support/faults/narinfo.ts';
import { startHouse } from '../support/house.ts';
import { get } from '../support/http-client.ts';
import { refuseLeaks } from '../support/leaks.ts';
import { startUpstream } from '../support/scripted-upstream.ts';

const OTHER = 'xcp9cav49dmsjbwdjlmkjxj10gkpx553';

const ROWS: readonly (readonly [url: string, reason: string])[] = [
  ['nar/plain.nar', 'as everybody'],
  ['elsewhere/file.nar.zst', 'another folder'],
  ['file.nar.zst', 'no folder'],
  ['log/file.nar', 'as a build log, which carries no digest'],
  ['realisations/file', 'as a realisation'],
  ['debuginfo/file.nar', 'as debuginfo'],
  ['build-trace-v2/file', 'as a build trace'],
  ['nar/log/file.nar', 'as a log below nar'],
  [`${OTHER}.ls`, 'as a listing'],
  [`${OTHER}.narinfo`, 'as a narinfo'],
  ['nix-cache-info/', 'as metadata'],
  ['attic-cache-info', 'as metadata of Attic'],
  ['_api/v1/file', 'as an API'],
  ['nar//file.nar', 'an empty segment'],
  ['nar/%66ile.nar', 'an escape'],
  ['nar/file.nar?hash=1', 'with a query'],
  ['nar/file.nar?nar=1', 'a query that is spelled as our pin'],
  [`nar/file.nar?as=zstd`, 'half of one'],
];

const resolve = (narinfo: string): string => /^URL: (.*)$/m.exec(narinfo)?.[1] ?? '';

const check = async (t: Test, cache: string, pinUrls: boolean): Promise<void> => {
  const upstream = await startUpstream({ caches: cache === '' ? [] : [{ name: cache, isPublic: true }] });
  t.teardown(() => upstream.close());
  const house = await startHouse(t, { 'nix.upstream': upstream.origin, 'nix.pinUrls': String(pinUrls) });
  const base = cache === '' ? '' : `/${cache}`;
  for (const [url, reason] of ROWS) {
    for (const isRight of [true, false]) {
      const object = await makeObject({ seed: `${url.replace(/\W/g, '-')}-${isRight}`, sizeBytes: 20_000 });
      const { narinfo } = upstream.add(object, cache === '' ? {} : { cache });
      upstream.script(narinfo, narinfoField('URL', url));
      const content = Buffer.from(object.body.bytes);
      if (!isRight) content[content.length >> 1] = (content[content.length >> 1] ?? 0) ^ 1;
      upstream.answer(`${base}/${url.split('?')[0]}`, { content: inBytes(content) });
      const told = await get(`${house.nix}${narinfo}`);
      t.equal(told.status, 200, `${reason}: narinfo`);
      const got = await get(`${house.nix}${base}/${resolve(told.body.toString())}`);
      if (isRight)
        t.ok(got.status === 200 && got.body.equals(object.body.bytes), `${reason}: right bytes, ${got.status}`);
      else t.equal(got.status, 404, `${reason}: wrong bytes`);
    }
  }
  await house.close();
};

const inBytes = (bytes: Buffer) => ({
  sizeBytes: bytes.length,
  frames: [0],
  compression: 'zstd' as const,
  async *read(start: number) {
    yield bytes.subarray(start);
  },
});

for (const cache of ['', 'lab']) {
  for (const pinUrls of [true, false]) {
    t.test(`${cache === '' ? 'a cache at the root' : 'a named cache'}, ${pinUrls ? 'pinned' : 'plain'}`, (t) => {
      refuseLeaks(t);
      return check(t, cache, pinUrls);
    });
  }
}
