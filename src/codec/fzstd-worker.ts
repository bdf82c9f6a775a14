// The worker thread in which fzstd decodes: it may be slow, or killed, and holds nobody up.

import { parentPort, workerData } from 'node:worker_threads';
import { Decompress } from 'fzstd';

export interface WorkerData {
  readonly owed: Int32Array;
}

export interface ToWorker {
  readonly bytes: Uint8Array;
  readonly endsFrame: boolean;
}

export type FromWorker =
  | { readonly kind: 'decoded'; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: 'taken' }
  | { readonly kind: 'fault'; readonly message: string };

/** The worker sleeps when more than this is on its way to the sink. */
const maxOwedBytes = 2 * 1024 * 1024;

if (parentPort === null) throw new Error('to be run as a worker');
const port = parentPort;
const { owed } = workerData as WorkerData;

const say = (message: FromWorker, transfer: ArrayBuffer[] = []) => port.postMessage(message, transfer);

const send = (block: Uint8Array) => {
  if (block.length === 0) return;
  const bytes = new Uint8Array(block);
  const length = bytes.length;
  say({ kind: 'decoded', bytes }, [bytes.buffer]);
  let sum = Atomics.add(owed, 0, length) + length;
  while (sum > maxOwedBytes) {
    Atomics.wait(owed, 0, sum);
    sum = Atomics.load(owed, 0);
  }
};

/** One for each frame: fzstd then ends with the frame, or reports. */
let frame: Decompress | undefined;

port.on('message', ({ bytes, endsFrame }: ToWorker) => {
  try {
    frame ??= new Decompress(send);
    frame.push(bytes, endsFrame);
    if (endsFrame) frame = undefined;
    say({ kind: 'taken' });
  } catch (error) {
    say({ kind: 'fault', message: error instanceof Error ? error.message : String(error) });
  }
});
