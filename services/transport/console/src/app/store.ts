/** A value that components subscribe to. */

import { useSyncExternalStore } from "react";

export class Store<T> {
  #value: T;
  readonly #listeners = new Set<() => void>();

  constructor(value: T) {
    this.#value = value;
  }

  readonly get = (): T => this.#value;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  set(value: T): void {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    for (const listener of this.#listeners) listener();
  }

  update(change: (value: T) => T): void {
    this.set(change(this.#value));
  }
}

/** The store's value; the component is rendered again when it changes. */
export function useStore<T>(store: Store<T>): T {
  return useSyncExternalStore(store.subscribe, store.get);
}

/** What a component needs of a store: it is rendered again when that changes. */
export function useSelected<T, S extends string | number | boolean>(store: Store<T>, select: (value: T) => S): S {
  return useSyncExternalStore(store.subscribe, () => select(store.get()));
}

/** A text that is kept in this browser. */
export function keptStore<T extends string>(name: string, usual: T, isKnown: (text: string) => boolean = Boolean): Store<T> {
  const key = `mozaiks.${name}`;
  const kept = localStorage.getItem(key);
  const store = new Store<T>(kept !== null && isKnown(kept) ? (kept as T) : usual);
  store.subscribe(() => localStorage.setItem(key, store.get()));
  return store;
}
