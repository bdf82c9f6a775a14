// Reads server-sent events as our admin sends them: one JSON object each.

/** Longer is no status. */
const MAX_EVENT = 1024 * 1024;

/** A server that stops cuts its streams: that is their end. */
async function* untilCut(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* body;
  } catch {
    // Whatever cut it, no more comes.
  }
}

export async function* readEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<object> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const piece of untilCut(body)) {
    text += decoder.decode(piece, { stream: true });
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const event = text.slice(0, end);
      text = text.slice(end + 2);
      const data = /^data: (.*)$/m.exec(event)?.[1];
      const value: unknown = data === undefined ? undefined : JSON.parse(data);
      if (typeof value === 'object' && value !== null) yield value;
    }
    if (text.length > MAX_EVENT) throw new Error('an event without an end');
  }
}
