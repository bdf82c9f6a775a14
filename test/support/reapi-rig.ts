// The Bazel front between a scripted REAPI cache and a client, with the end that each test of it wants: nothing left anywhere.

import type { ClientOptions } from '@grpc/grpc-js';
import type { Test } from 'tap';
import { startHouse, type TestHouse } from './house.ts';
import { ReapiClient } from './reapi-client.ts';
import { type ReapiOptions, type ScriptedReapi, startReapi } from './scripted-reapi.ts';

type HouseOptions = NonNullable<Parameters<typeof startHouse>[2]>;

export interface ReapiRig {
  readonly upstream: ScriptedReapi;
  readonly house: TestHouse;
  readonly client: ReapiClient;
  /** Another client, with a connection of its own. */
  connect(options?: ClientOptions): ReapiClient;
  /** Ends the house; no call is open at the upstream then, and no file in the spool. */
  end(): Promise<void>;
}

export const startRig = async (
  t: Test,
  flags: Readonly<Record<string, string>> = {},
  { reapi, ...house }: HouseOptions & { readonly reapi?: ReapiOptions } = {},
): Promise<ReapiRig> => {
  const upstream = await startReapi(reapi);
  t.teardown(() => upstream.close());
  return {
    upstream,
    ...(await openHouse(t, { 'bazel.upstream': `grpc://${upstream.address}`, ...flags }, house, upstream)),
  };
};

/** The front with nothing behind it. */
export const startOwn = (t: Test, flags: Readonly<Record<string, string>> = {}, options: HouseOptions = {}) =>
  openHouse(t, flags, options);

const openHouse = async (
  t: Test,
  flags: Readonly<Record<string, string>>,
  options: HouseOptions,
  upstream?: ScriptedReapi,
): Promise<Omit<ReapiRig, 'upstream'>> => {
  const house = await startHouse(t, flags, options);
  const connect = (options: ClientOptions = {}) => {
    const client = new ReapiClient(house.bazel, options);
    t.teardown(() => client.close());
    return client;
  };
  const client = connect();
  return {
    house,
    client,
    connect,
    end: async () => {
      client.close();
      await house.close();
      await upstream?.idle();
      t.same(await house.spooled(), [], 'nothing left in the spool');
    },
  };
};
