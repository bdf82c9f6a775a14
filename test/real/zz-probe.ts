import t from 'tap';
import { writeDerivations } from '/work/main/test/support/real/derivations.ts';
import { makeNixStore, nixVersions } from '/work/main/test/support/real/nix.ts';
import { temporaryDirectory } from '/work/main/test/support/real/scope.ts';
const shapes = Array.from({ length: 300 }, (_, index) => ({ name: `path-${index}`, sizeBytes: 2000 }));
const file = await writeDerivations(await temporaryDirectory(t, 'expression'), shapes);
for (const settings of [{}, { 'fsync-metadata': false }, { 'fsync-metadata': false, 'max-jobs': 4 }])
for (const v of nixVersions) { const s = await makeNixStore(t, v, { settings }); const r = await s.build(file); console.log(v, JSON.stringify(settings), r.code, r.seconds); }
