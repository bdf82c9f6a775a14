// Which request targets mean what, and which are refused before anything is looked up.

import t from 'tap';
import { readTarget, type Target } from '../../../src/nix/target.ts';

const HASH = 'xcp9cav49dmsjbwdjlmkjxj10gkpx553';
const FILE = '0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73';
const SHA256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
const pin = { sha256: SHA256, compression: 'zstd' };

t.test('served', async (t) => {
  const rows: ReadonlyArray<readonly [string, Target, string]> = [
    ['/nix-cache-info', { kind: 'cache-info', cache: '' }, 'a cache at the root'],
    ['/lab/nix-cache-info', { kind: 'cache-info', cache: 'lab' }, 'an Attic cache'],
    ['/a/b/c/nix-cache-info', { kind: 'cache-info', cache: 'a/b/c' }, 'deeper'],
    ['/lab/attic-cache-info', { kind: 'attic-cache-info', cache: 'lab' }, 'Attic'],
    [`/lab/${HASH}.narinfo`, { kind: 'narinfo', cache: 'lab', storeHash: HASH }, 'narinfo'],
    [`/%6cab/${HASH}.narinfo`, { kind: 'narinfo', cache: 'lab', storeHash: HASH }, 'escapes of plain letters'],
    [`/lab/nar/${HASH}.nar`, { kind: 'nar', cache: 'lab', url: `nar/${HASH}.nar`, pin: null }, 'Attic NAR'],
    [`/nar/${FILE}.nar.xz`, { kind: 'nar', cache: '', url: `nar/${FILE}.nar.xz`, pin: null }, 'NAR by file hash'],
    [
      `/nar/x.nar?hash=${HASH}`,
      { kind: 'nar', cache: '', url: `nar/x.nar?hash=${HASH}`, pin: null },
      'the query of a harmonia',
    ],
    [`/lab/nar/${HASH}.nar?nar=${FILE}&as=zstd`, { kind: 'nar', cache: 'lab', url: `nar/${HASH}.nar`, pin }, 'pinned'],
    [
      `/nar/x.nar?hash=1&nar=${FILE}&as=zstd`,
      { kind: 'nar', cache: '', url: 'nar/x.nar?hash=1', pin },
      'pinned behind a query',
    ],
    [`/nar/ab/cd.nar`, { kind: 'nar', cache: '', url: 'nar/ab/cd.nar', pin: null }, 'folders below nar'],
    [`/lab/${HASH}.ls`, { kind: 'extra', cache: 'lab', url: `${HASH}.ls` }, 'listing'],
    ['/lab/log/x.drv', { kind: 'extra', cache: 'lab', url: 'log/x.drv' }, 'log'],
    [
      '/realisations/sha256:ab!out.doi',
      { kind: 'extra', cache: '', url: 'realisations/sha256:ab!out.doi' },
      'realisation',
    ],
    [
      '/realisations/sha256%3aab%21out.doi',
      { kind: 'extra', cache: '', url: 'realisations/sha256:ab!out.doi' },
      'escaped',
    ],
    ['/_api/v1/upload-path', { kind: 'attic-api', path: '_api/v1/upload-path' }, 'Attic API'],
    [
      '/lab/other/file.nar.zst',
      { kind: 'unknown', path: 'lab/other/file.nar.zst', query: '', pin: null },
      'a URL of another shape',
    ],
    [
      '/lab//nix-cache-info',
      { kind: 'unknown', path: 'lab//nix-cache-info', query: '', pin: null },
      'an empty segment is no cache',
    ],
    ['/lab/short.narinfo', { kind: 'unknown', path: 'lab/short.narinfo', query: '', pin: null }, 'no store hash'],
    [
      `/lab/log/x.nar?nar=${FILE}&as=zstd`,
      { kind: 'unknown', path: 'lab/log/x.nar', query: '', pin },
      'a pin is on NARs alone: this is no log to pass on',
    ],
    ['/', { kind: 'unknown', path: '', query: '', pin: null }, 'the root'],
  ];
  for (const [target, expected, reason] of rows) t.same(readTarget(target), expected, reason);
});

t.test('refused', async (t) => {
  for (const [target, reason] of [
    ['/../etc/passwd', 'climbing'],
    ['/lab/../../x', 'climbing in the middle'],
    ['/lab/.', 'a dot'],
    ['/%2e%2e/x', 'climbing, escaped'],
    ['/lab/%2E%2e/x', 'climbing, escaped in both cases'],
    ['/lab%2fnar/x.nar', 'an escaped slash'],
    ['/lab/nar%5cx.nar', 'a backslash'],
    ['/lab/nar/x%00.nar', 'NUL'],
    ['/lab/nar/x%0d%0a.nar', 'a line end'],
    ['/lab/%zz', 'a malformed escape'],
    ['/lab/%ff', 'no UTF-8'],
    ['/lab/\u00e9', 'a raw byte beyond ASCII'],
    ['http://other/lab/nix-cache-info', 'an absolute form: we are no forward proxy'],
    ['*', 'an asterisk'],
    ['/lab/x?a=\u0000', 'a control character in the query'],
    [`/${'a/'.repeat(20)}x`, 'absurdly deep'],
    [`/${'a'.repeat(5000)}`, 'absurdly long'],
    ['/nar/x.nar?nar=short&as=zstd', 'a pin that is no hash'],
    [`/nar/x.nar?nar=${FILE}`, 'half a pin'],
    [`/nar/x.nar?nar=${FILE}&as=../x`, 'a pin that is no compression'],
    [`/nar/x.nar?nar=${FILE}&nar=${FILE}&as=zstd`, 'two pins'],
  ] as const) {
    t.equal(readTarget(target).kind, 'bad', reason);
  }
});
