import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "fflate";
import { defineConfig, type Plugin } from "vite";

/** Write `file.gz` beside each script and style. fflate's bytes do not depend on the machine, unlike those of zlib. */
function compressed(): Plugin {
  return {
    name: "compressed",
    apply: "build",
    // Vite fills in the names of chunks after generateBundle.
    async writeBundle({ dir = "" }, bundle) {
      const names = Object.keys(bundle).filter((name) => /\.(js|css|svg)$/.test(name));
      for (const name of names) {
        const bytes = await readFile(join(dir, name));
        await writeFile(join(dir, `${name}.gz`), gzipSync(bytes, { level: 9, mtime: 0 }));
      }
    },
  };
}

const API = process.env.FLYTEADMIN_URL ?? "http://localhost:30080";

export default defineConfig(({ command }) => ({
  // Built files name each other relative to themselves. The server writes the prefix of a proxy into index.html.
  base: command === "serve" ? "/console/" : "./",
  plugins: [compressed()],
  build: {
    outDir: "../app/console/static",
    emptyOutDir: true,
    manifest: "manifest.json",
    // Chromium, Firefox and Safari of the last two years: light-dark(), popovers, AbortSignal.any().
    target: ["chrome125", "firefox126", "safari17.5"],
    sourcemap: false,
    // Every file is small and cached for ever; inlined assets would need `data:` in the Content-Security-Policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rollupOptions: {
      output: {
        entryFileNames: "assets/app-[hash].js",
        chunkFileNames: "assets/[name]-[hash].js",
        assetFileNames: "assets/[name]-[hash][extname]",
      },
    },
  },
  server: {
    port: 5173,
    proxy: Object.fromEntries(
      ["/api", "/me", "/config", "/logs", "/storage", "/login", "/logout", "/callback", "/openapi.json"].map((path) => [
        path,
        // The server refuses changes from pages of other origins.
        { target: API, changeOrigin: true, headers: { origin: API } },
      ]),
    ),
  },
}));
