// Gives the memory of large buffers back at once, where their last user is known.

/**
 * Nothing that lies in `memory` may be used, or be under way in a write, any more: all of it is empty from now on. Left to
 * the garbage collector, every 40 MB of buffers cost a collection of 20 to 30 ms over all threads: a third and more of what
 * proving a body takes (bench, `--only cold`, with Node's --trace-gc).
 */
export const release = (memory: ArrayBufferLike): void => {
  // What is shared between threads is nobody's to take away.
  if (memory instanceof ArrayBuffer) memory.transfer(0);
};
