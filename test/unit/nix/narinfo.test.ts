// What a narinfo must be to be passed on: whatever any Nix would take for an error is none.

import t from 'tap';
import { isNarinfo, type Narinfo, parseNarinfo, withUrl } from '../../../src/nix/narinfo.ts';

const HASH = 'xcp9cav49dmsjbwdjlmkjxj10gkpx553';
const NAR_HEX = '91e129ac1959d062ad093d2b1f8b65afae0f712056fe3eac78ec530ff6a1bb9a';
const FIELDS = {
  StorePath: `/nix/store/${HASH}-hello-2.10`,
  URL: `nar/${HASH}.nar`,
  Compression: 'zstd',
  NarHash: `sha256:${NAR_HEX}`,
  NarSize: '206104',
  References: `563528481rvhc5kxwipjmg6rqrl95mdx-glibc-2.33-56 ${HASH}-hello-2.10`,
  Sig: `lab:${Buffer.alloc(64).toString('base64')}`,
};

const textOf = (fields: Readonly<Record<string, string | undefined>>): string =>
  Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}: ${value}\n`)
    .join('');

const withField = (changed: Readonly<Record<string, string | undefined>>): string => textOf({ ...FIELDS, ...changed });

t.test('well-formed', async (t) => {
  const narinfo = parseNarinfo(textOf(FIELDS), HASH) as Narinfo;
  t.ok(isNarinfo(narinfo));
  t.same(narinfo.nar, { sha256: NAR_HEX, sizeBytes: 206_104 });
  t.equal(narinfo.encoding, 'zstd');
  t.equal(narinfo.references.length, 2);
  t.equal(
    withUrl(narinfo, 'nar/x.nar?nar=1&as=$&'),
    textOf(FIELDS).replace(`nar/${HASH}.nar`, () => 'nar/x.nar?nar=1&as=$&'),
    'all else byte for byte',
  );
  for (const [text, reason] of [
    [withField({ References: '' }), 'no references, with the trailing blank'],
    [withField({ Sig: undefined }), 'unsigned: the client decides'],
    [`${textOf(FIELDS)}Sig: other:${Buffer.alloc(64).toString('base64')}\n`, 'two signatures'],
    [withField({ Deriver: 'unknown-deriver', System: 'x86_64-linux', Future: 'yes' }), 'fields that nobody knows'],
    [withField({ CA: '' }), 'an empty CA'],
    [withField({ CA: 'fixed:r:sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73' }), 'content-addressed'],
    [withField({ StorePath: `/tmp/x/store/${HASH}-a` }), 'another store'],
  ] as const) {
    t.ok(isNarinfo(parseNarinfo(text, HASH)), reason);
  }
});

t.test('refused', async (t) => {
  for (const [text, kind, reason] of [
    ['', 'malformed', 'nothing'],
    ['<html>\n<body>503</body>\n', 'malformed', 'an error page'],
    [textOf(FIELDS).slice(0, -1), 'malformed', 'no final line end'],
    [textOf(FIELDS).replaceAll('\n', '\r\n'), 'malformed', 'CRLF'],
    [`${textOf(FIELDS)}\n`, 'malformed', 'a blank line'],
    [textOf(FIELDS).replace('References: ', 'References:'), 'malformed', 'Nix would swallow the next line'],
    [withField({ StorePath: undefined }), 'malformed', 'no StorePath'],
    [withField({ StorePath: `${HASH}-hello` }), 'malformed', 'no store directory'],
    [withField({ StorePath: `/nix/store/${HASH}-he llo` }), 'malformed', 'a name with a blank'],
    [withField({ StorePath: '/nix/store/563528481rvhc5kxwipjmg6rqrl95mdx-glibc' }), 'other-path', 'another path'],
    [withField({ URL: undefined }), 'malformed', 'no URL'],
    [withField({ URL: 'nar/a b' }), 'malformed', 'a URL with a blank'],
    [`${textOf(FIELDS)}URL: nar/other.nar\n`, 'malformed', 'two URLs: the last one wins in Nix'],
    [`${textOf(FIELDS)}NarHash: sha256:${NAR_HEX}\n`, 'malformed', 'two NarHashes'],
    [withField({ NarHash: NAR_HEX }), 'malformed', 'a bare hash'],
    [withField({ NarHash: `sha512:${NAR_HEX}` }), 'malformed', 'another hash'],
    [withField({ NarSize: '0' }), 'malformed', 'no size'],
    [withField({ NarSize: '-1' }), 'malformed', 'a negative size'],
    [withField({ NarSize: '1e3' }), 'malformed', 'no whole number'],
    [withField({ NarSize: '99999999999999999999' }), 'malformed', 'more than can be counted'],
    [withField({ References: '../../etc/passwd' }), 'malformed', 'a reference that is no base name'],
    [withField({ Sig: 'nonsense' }), 'malformed', 'an error in Nix from 2.34 on'],
    [withField({ CA: 'bogus' }), 'malformed', 'an error in every Nix'],
    [withField({ Compression: undefined }), 'unprovable', 'missing is bzip2'],
    [withField({ Compression: 'bzip2' }), 'unprovable', 'bzip2'],
    [withField({ Compression: 'lz4' }), 'unprovable', 'lz4'],
    [withField({ Compression: 'constructor' }), 'unprovable', 'a word of JavaScript'],
  ] as const) {
    const read = parseNarinfo(text, HASH);
    t.equal('kind' in read ? read.kind : 'a narinfo', kind, reason);
  }
});
