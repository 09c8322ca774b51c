/** What a component has read from the server: the newest answer, what failed, and a way to read again. */

import { useCallback, useEffect, useRef, useState } from "react";
import { repeat, sentenceOf } from "../session/session";

export type Fetched<T> = { value: T | null; fault: string; reload: () => Promise<void> };

/** Reads when `key` changes and, with `every`, after as many milliseconds each time; nothing where `key` is null. */
export function useFetched<T>(key: string | null, load: () => Promise<T>, every = 0): Fetched<T> {
  const [found, setFound] = useState<{ key: string | null; value: T | null; fault: string }>({ key: null, value: null, fault: "" });
  const latest = useRef({ key, load });
  latest.current = { key, load };
  const read = useCallback(async () => {
    const asked = latest.current;
    if (asked.key === null) return;
    try {
      const value = await asked.load();
      if (latest.current.key === asked.key) setFound({ key: asked.key, value, fault: "" });
    } catch (error) {
      const fault = sentenceOf(error);
      if (latest.current.key === asked.key) setFound((known) => ({ key: asked.key, value: known.key === asked.key ? known.value : null, fault }));
    }
  }, []);
  useEffect(() => {
    if (every > 0) {
      return repeat(async () => {
        await read();
        return every;
      });
    }
    void read();
    return undefined;
  }, [key, every, read]);
  const current = found.key === key;
  return { value: current ? found.value : null, fault: current ? found.fault : "", reload: read };
}
