// What Attic says of a cache with every answer: whether everyone may read it.

import type { IncomingHttpHeaders } from 'node:http';

export const isSaidPublic = (headers: IncomingHttpHeaders): boolean => headers['x-attic-cache-visibility'] === 'public';
