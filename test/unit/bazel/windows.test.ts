// HTTP/2 windows: what is set through fields that grpc-js does not promise arrives at the other side.

import { once } from 'node:events';
import { connect } from 'node:http2';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import t from 'tap';
import { widenConnections, widenStreams } from '../../../src/bazel/windows.ts';
import { until } from '../../support/waiting.ts';

const MIB = 1024 * 1024;

t.test('a client of a widened server may send a MiB a stream, and eight in all', async (t) => {
  const server = new Server();
  t.ok(widenStreams(server), 'this grpc-js has what is looked for');
  const credentials = ServerCredentials.createInsecure();
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', credentials, (error, bound) => (error === null ? resolve(bound) : reject(error))),
  );
  t.ok(widenConnections(server), 'and so it has after it was bound');
  t.teardown(() => server.forceShutdown());
  const client = connect(`http://127.0.0.1:${port}`);
  t.teardown(() => client.destroy());
  await once(client, 'remoteSettings');
  t.equal(client.remoteSettings.initialWindowSize, MIB);
  await until(() => client.state.remoteWindowSize === 8 * MIB);
});

t.test('what is not there is left alone', (t) => {
  const strangers = [{}, { commonServerOptions: null, http2Servers: new Map() }, { http2Servers: [] }];
  for (const stranger of strangers) {
    t.notOk(widenStreams(stranger as unknown as Server));
    t.notOk(widenConnections(stranger as unknown as Server));
  }
  t.end();
});
