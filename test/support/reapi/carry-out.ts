// Sends a reply as its plan says: in which pieces, how fast, with which waits, and how it ends.

import type { Http2Stream } from 'node:http2';
import { Metadata, type ServerDuplexStream, type ServerWritableStream, status } from '@grpc/grpc-js';
import { type Clock, pause } from '../../../src/core/clock.ts';
import type { Reply } from './answers.ts';
import type { ReapiCall } from './call.ts';
import type { Plan, Where } from './plan.ts';
import { Refused } from './status.ts';

/** All methods are served as if they answered in a stream: that is the same on the wire, and leaves the end to us. */
export type ServedCall = ServerWritableStream<Buffer, Buffer> | ServerDuplexStream<Buffer, Buffer>;

export interface Wire {
  readonly call: ServedCall;
  readonly record: ReapiCall;
  readonly clock: Clock;
  /** Aborted when nobody waits for the answer any more. */
  readonly gone: AbortSignal;
  readonly onProgress: () => void;
}

/** Rejects as soon as the client is gone. */
export const whileThere = <Value>(gone: AbortSignal, value: Promise<Value>): Promise<Value> =>
  new Promise((resolve, reject) => {
    const leave = () => reject(new Gone());
    if (gone.aborted) return leave();
    gone.addEventListener('abort', leave, { once: true });
    value.then(resolve, reject).finally(() => gone.removeEventListener('abort', leave));
  });

class Gone extends Error {}

/** The waits that stand at a place, and the end if it stands there. True where the call is over. */
export const passPlace = async (wire: Wire, plan: Plan, isHere: (at: Where) => boolean): Promise<boolean> => {
  for (const { at, until } of plan.holds) if (isHere(at)) await whileThere(wire.gone, until);
  if (plan.end === null || !isHere(plan.end.at)) return false;
  endCall(wire, plan.end.code, plan.end.details);
  return true;
};

export const endCall = ({ call, record, onProgress }: Wire, code: number, details: string): void => {
  if (record.ended !== 'open') return;
  record.code = code;
  record.ended = code === status.OK ? 'ok' : 'failed';
  if (code === status.OK) call.end();
  else call.emit('error', Object.assign(new Refused(code, details), { details }));
  onProgress();
};

/**
 * Unlike grpc-js we send parts of messages, and any bytes at all; its own stream has to be reached for that. No interceptor stands
 * between in our server, so that `call` is grpc-js's BaseServerInterceptingCall (1.14.7, server-interceptors.ts).
 */
const streamOf = (call: ServedCall): Http2Stream => (call as unknown as { call: { stream: Http2Stream } }).call.stream;

/** Never resolves where the stream is lost: `gone` says so next. */
const written = (stream: Http2Stream, bytes: Buffer): Promise<void> =>
  new Promise((resolve) => stream.write(bytes, (error) => error ?? resolve()));

export const carryOut = async (wire: Wire, plan: Plan, lookUp: () => Reply): Promise<void> => {
  const { call, record, clock, gone, onProgress } = wire;
  if (await passPlace(wire, plan, (at) => at === 'before')) return;
  const reply = lookUp();
  const { bytes, frame } = reply;
  const placeOf = (at: number): number => Math.max(0, at < 0 ? bytes.length + at : at);
  const places = [...plan.holds, ...(plan.end ? [plan.end] : [])].flatMap(({ at }) =>
    typeof at === 'number' ? [placeOf(at)] : [],
  );
  const pieceBytes = Math.min(reply.pieceBytes, plan.pace?.pieceBytes ?? reply.pieceBytes);
  let at = 0;
  if (bytes.length > 0 || places.length > 0) call.sendMetadata(new Metadata());
  while (true) {
    const here = at;
    if (
      places.includes(here) &&
      (await passPlace(wire, plan, (place) => typeof place === 'number' && placeOf(place) === here))
    ) {
      return;
    }
    if (at >= bytes.length) break;
    const next = Math.min(at + pieceBytes, bytes.length, ...places.filter((place) => place > here));
    const piece = bytes.subarray(at, next);
    await whileThere(gone, written(streamOf(call), frame(piece)));
    at = next;
    record.bytesSent = at;
    record.messagesSent += 1;
    onProgress();
    if (plan.pace) await pause(clock, (1_000 * piece.length) / plan.pace.bytesPerSecond, gone);
  }
  if (await passPlace(wire, plan, (place) => place === 'after')) return;
  if (reply.isEndless) await whileThere(gone, new Promise(() => undefined));
  endCall(wire, status.OK, 'OK');
};
