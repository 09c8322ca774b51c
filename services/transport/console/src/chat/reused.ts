/** Lists that are made anew: what is as it was stays the same object, and is not rendered again. Pure. */

export function reused<T>(known: T[], next: T[], idOf: (one: T) => string): T[] {
  const before = new Map(known.map((one) => [idOf(one), one]));
  return next.map((one) => {
    const old = before.get(idOf(one));
    return old !== undefined && JSON.stringify(old) === JSON.stringify(one) ? old : one;
  });
}
