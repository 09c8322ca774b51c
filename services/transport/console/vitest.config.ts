import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

// The tests of the logic that needs no browser; pages are tested in one, by tests/browser/.
const root = fileURLToPath(new URL("../../..", import.meta.url));

export default defineConfig({
  root,
  test: { include: ["tests/transport/console/*.test.ts"], globals: true, cache: false },
});
