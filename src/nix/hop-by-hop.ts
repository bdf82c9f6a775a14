// Takes out of a header list what is meant for one connection alone (RFC 9110 §7.6.1).

type Headers = Readonly<Record<string, string | string[] | undefined>>;

const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Names in lower case. What `Connection` names goes with it. */
export const withoutHop = (headers: Headers): Record<string, string | string[]> => {
  const named = String(headers['connection'] ?? '').toLowerCase();
  const dropped = new Set([...HOP_BY_HOP, ...named.split(',').map((name) => name.trim())]);
  const kept: Record<string, string | string[]> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined && !dropped.has(name)) kept[name] = value;
  }
  return kept;
};
