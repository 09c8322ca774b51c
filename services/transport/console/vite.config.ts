import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The transport serves `dist` at /console/ and its index.html at /.
export default defineConfig({
  base: "/console/",
  plugins: [react()],
  resolve: {
    alias: {
      // Its version for browsers parses by DOMParser, to which the content security policy forbids style attributes.
      "hast-util-from-html-isomorphic": decodeURIComponent(new URL("node_modules/hast-util-from-html-isomorphic/index.js", import.meta.url).pathname),
    },
  },
  build: {
    target: "es2023",
    assetsInlineLimit: 0, // no data: addresses: the content security policy allows our own origin only
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 800,
  },
  server: {
    // `npm run dev` beside `make run`
    proxy: {
      "/api": "http://127.0.0.1:8000",
      "/chat": "http://127.0.0.1:8000",
      "/metrics": "http://127.0.0.1:8000",
      "/health": "http://127.0.0.1:8000",
      "/ws": { target: "ws://127.0.0.1:8000", ws: true },
    },
  },
});
