// Preloaded (`node --import`) into a process that shall find no addon of liblzma, as on a machine it has no build for.

import { registerHooks } from 'node:module';

registerHooks({
  resolve(specifier, context, next) {
    if (specifier === 'lzma-native') throw new Error('there is no build of it for this machine');
    return next(specifier, context);
  },
});
