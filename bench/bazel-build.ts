// The wall time of a real Bazel's warm build: from a store that is hot, and from one that is empty.

import { makeBazel } from '../test/support/bazel.ts';
import { makeWorkspace } from '../test/support/bazel-workspace.ts';
import type { Scope } from '../test/support/real/scope.ts';
import { setBazelStage } from './bazel-stage.ts';
import { type Figure, measured } from './figure.ts';

const ROUNDS = 7;

/** Forty actions, all of them hits, all outputs fetched: 22 MB. */
export const bazelBuilds = async (scope: Scope): Promise<Figure[]> => {
  const stage = await setBazelStage(scope);
  const workspace = await makeWorkspace(scope);
  const bazel = await makeBazel(scope, '7.7', workspace);
  const build = async (address: string, hits: number): Promise<number> => {
    await bazel.clean();
    const flags = ['--remote_download_outputs=all'];
    const built = await bazel.build({ remoteCache: `grpc://${address}`, flags });
    if (built.exit !== 0 || built.remoteHits !== hits) throw new Error(`${built.remoteHits} hits: ${built.stderr}`);
    return built.wallMs / 1000;
  };
  await build(stage.addresses.direct, 0);
  for (const address of Object.values(stage.addresses)) await build(address, workspace.actions);
  const shape = { unit: 's', rounds: ROUNDS };
  const hot = { ...shape, name: 'warm Bazel build, hot store', target: { than: 'direct', atMost: 1.05 } } as const;
  const empty = { ...shape, name: 'warm Bazel build, empty store', target: { than: 'direct', atMost: 1.5 } } as const;
  return [
    await measured(hot, (way) => build(stage.addresses[way], workspace.actions)),
    await measured(empty, async (way) => {
      if (way !== 'cleanmiss') return await build(stage.addresses[way], workspace.actions);
      const { house, address } = await stage.freshHouse();
      const seconds = await build(address, workspace.actions);
      await house.stop();
      return seconds;
    }),
  ];
};
