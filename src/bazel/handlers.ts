// Makes grpc-js handlers of plain async functions, so that every call ends once, in time, and with a status of ours.

import {
  type handleClientStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  type ServerReadableStream,
  type ServerWritableStream,
  type ServiceDefinition,
  status,
} from '@grpc/grpc-js';
import { type Clock, within } from '../core/clock.ts';
import type { Access } from '../store/access.ts';
import { CallError, invalid } from './call-error.ts';
import { type AnyCall, type Caller, callerOf } from './caller.ts';

export interface HandlerPorts {
  readonly clock: Clock;
  readonly access: Access;
  /** An error that nobody foresaw: the call ends as `otherwise` says. */
  onError(method: string, error: unknown): void;
}

/** How a call ends that nothing better can be said of: its time is up, or we erred. */
export type Otherwise = () => CallError;

/** Sends one message, and resolves when the next may come. Rejects when the client is gone. */
export type Send<Message> = (message: Message) => Promise<void>;

/** What a request is where its bytes are no message: grpc-js itself would say INTERNAL, and Bazel ask six times. */
class Malformed {
  readonly details: string;

  constructor(error: unknown) {
    this.details = error instanceof Error ? error.message : String(error);
  }
}

/** The service as a server of ours takes it. */
export const served = <Service extends ServiceDefinition>(service: Service): Service => {
  const methods = Object.entries(service).map(([name, method]) => {
    const requestDeserialize = (bytes: Buffer): unknown => {
      try {
        return method.requestDeserialize(bytes);
      } catch (error) {
        return new Malformed(error);
      }
    };
    return [name, { ...method, requestDeserialize }];
  });
  return Object.fromEntries(methods) as Service;
};

export class Handlers {
  readonly #ports: HandlerPorts;

  constructor(ports: HandlerPorts) {
    this.#ports = ports;
  }

  unary<Request, Response>(
    otherwise: Otherwise,
    answer: (request: Request, caller: Caller) => Promise<Response>,
  ): handleUnaryCall<Request, Response> {
    return (call, callback) => {
      const run = async (caller: Caller) => this.#inTime(caller, answer(wellFormed(call.request), caller), otherwise);
      void this.#settled(call, otherwise, run).then((end) => {
        if ('error' in end) callback(end.error);
        else callback(null, end.value);
      });
    };
  }

  /** `answer` keeps to `caller.deadline` by itself: what it has begun to send may take longer. */
  serverStream<Request, Response>(
    otherwise: Otherwise,
    answer: (request: Request, caller: Caller, send: Send<Response>) => Promise<void>,
  ): handleServerStreamingCall<Request, Response> {
    return (call) => {
      const run = async (caller: Caller) => answer(wellFormed(call.request), caller, sendTo(call, caller.signal));
      void this.#settled(call, otherwise, run).then((end) => {
        if ('error' in end) call.emit('error', end.error);
        else call.end();
      });
    };
  }

  /** `answer` may end before the last message, and must by the deadline; what comes then is dropped. */
  clientStream<Request, Response>(
    otherwise: Otherwise,
    answer: (messages: AsyncIterable<Request>, caller: Caller) => Promise<Response>,
  ): handleClientStreamingCall<Request, Response> {
    return (call, callback) => {
      const run = (caller: Caller) => this.#inTime(caller, answer(messagesOf(call), caller), otherwise);
      void this.#settled(call, otherwise, run).then((end) => {
        if ('error' in end) callback(end.error);
        else callback(null, end.value);
        call.on('error', () => {}).resume();
      });
    };
  }

  async #inTime<T>(caller: Caller, answer: Promise<T>, otherwise: Otherwise): Promise<T> {
    const { clock } = this.#ports;
    const leftMs = caller.lastMoment - clock.monotonic();
    const first = await within(
      clock,
      leftMs,
      answer.then((value) => ({ value })),
    );
    if (first === undefined) throw otherwise();
    return first.value;
  }

  async #settled<T>(
    call: AnyCall,
    otherwise: Otherwise,
    run: (caller: Caller) => Promise<T>,
  ): Promise<{ readonly value: T } | { readonly error: { readonly code: status; readonly details: string } }> {
    try {
      return { value: await run(callerOf(this.#ports, call)) };
    } catch (error) {
      if (!(error instanceof CallError) && !call.cancelled) this.#ports.onError(call.getPath(), error);
      const { code, message } = error instanceof CallError ? error : otherwise();
      return { error: { code, details: message } };
    }
  }
}

const wellFormed = <Request>(request: Request): Request => {
  if (request instanceof Malformed) throw invalid(`malformed message: ${request.details}`);
  return request;
};

async function* messagesOf<Request>(call: ServerReadableStream<Request, unknown>): AsyncGenerator<Request, void, void> {
  for await (const message of call.iterator({ destroyOnReturn: false })) yield wellFormed(message as Request);
}

const sendTo =
  <Response>(call: ServerWritableStream<unknown, Response>, signal: AbortSignal): Send<Response> =>
  (message) =>
    new Promise((resolve, reject) => {
      const onAbort = () => reject(signal.reason);
      if (signal.aborted) return onAbort();
      signal.addEventListener('abort', onAbort, { once: true });
      call.write(message, (error?: Error | null) => {
        signal.removeEventListener('abort', onAbort);
        // A call that lost a message must not end well.
        if (error) reject(error);
        else resolve();
      });
    });

export const unimplemented: Otherwise = () => new CallError(status.UNIMPLEMENTED, 'not served here');
