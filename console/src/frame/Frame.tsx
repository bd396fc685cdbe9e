/** What surrounds each page. */
import { effect } from "@preact/signals";
import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { navigate, route } from "../location.ts";
import { links } from "../routes.ts";
import { theme } from "../store.ts";
import { toast } from "../ui/announce.ts";
import { useKeys } from "../ui/keys.ts";
import { Toasts } from "../ui/Toasts.tsx";
import { Banners } from "./Banners.tsx";
import { closePalette, helpOpen, openPalette, paletteOpen } from "./open.ts";
import { Page } from "./Page.tsx";
import { place } from "./place.ts";
import { SECTIONS } from "./sections.ts";
import { Top } from "./Top.tsx";

effect(() => {
  const { dataset } = document.documentElement;
  if (theme.value === "system") delete dataset.theme;
  else dataset.theme = theme.value;
});

const loaded = new Map<() => Promise<ComponentType>, ComponentType>();

/** Show a component whose module is loaded when it is shown first. */
function Later({ load, onClose }: { load: () => Promise<ComponentType>; onClose: () => void }) {
  const [Component, setComponent] = useState<ComponentType | null>(() => loaded.get(load) ?? null);
  useEffect(() => {
    if (Component) return undefined;
    let shown = true;
    load().then(
      (found) => {
        loaded.set(load, found);
        if (shown) setComponent(() => found);
      },
      () => {
        if (!shown) return;
        onClose();
        toast("The dialog cannot be loaded. Load the page again.", { failed: true });
      },
    );
    return () => {
      shown = false;
    };
  }, []);
  return Component && <Component />;
}

const loadPalette = () => import("./Palette.tsx").then((module) => module.Palette);
const loadHelp = () => import("./Help.tsx").then((module) => module.Help);

const closeHelp = () => {
  helpOpen.value = false;
};

export function Frame() {
  const here = place.value;
  useKeys("Everywhere", [
    { keys: "mod+k", text: "search and go anywhere", run: openPalette },
    { keys: "?", text: "this help", run: () => (helpOpen.value = true) },
    { keys: "g h", text: "home", run: () => navigate(links.home()) },
    ...SECTIONS.map(({ keys, text, list }) => ({
      keys,
      text: text.toLowerCase(),
      run: () => here && navigate(links.list(here, list)),
    })),
  ]);
  // A page that was opened by the keyboard begins at its start, for screen readers, too.
  const shown = route.value;
  useEffect(() => {
    if (document.activeElement === document.body) return;
    if (document.activeElement?.closest("main") === null) return;
    document.querySelector<HTMLElement>("main")?.focus({ preventScroll: true });
  }, [shown.page]);
  return (
    <>
      <a class="skip" href="#main">
        Skip to the content
      </a>
      <Top />
      <Banners />
      <main id="main" tabIndex={-1}>
        <Page />
      </main>
      <Toasts />
      {paletteOpen.value && <Later load={loadPalette} onClose={closePalette} />}
      {helpOpen.value && <Later load={loadHelp} onClose={closeHelp} />}
    </>
  );
}
