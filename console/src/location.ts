/** The address bar as signals: `route` follows it, `navigate` and `setQuery` change it. */
import { batch, computed, signal } from "@preact/signals";
import { CONSOLE } from "./root.ts";
import { type Parsed, parse, type Query, type Route } from "./routes.ts";
import { lastPlace } from "./store.ts";

const pathname = signal(window.location.pathname);
const search = signal(window.location.search);

const parsed = computed<Parsed>(() => parse(pathname.value, search.peek(), lastPlace.peek()));

/** The page that the address names. */
export const route = computed<Route>(() => parsed.value.route);

/** The query of the address. */
export const query = computed(() => new URLSearchParams(search.value));

function read(): void {
  batch(() => {
    search.value = window.location.search;
    pathname.value = window.location.pathname;
  });
  const moved = parsed.value.moved;
  if (moved !== undefined) navigate(moved, { replace: true });
}

/**
 * Go to an address of the console.
 *
 * @param href A path as `links` writes it.
 * @param replace Whether the history loses the present address.
 */
export function navigate(href: string, { replace = false }: { replace?: boolean } = {}): void {
  const before = window.location.pathname;
  window.history[replace ? "replaceState" : "pushState"](null, "", href);
  read();
  if (!replace && window.location.pathname !== before) window.scrollTo(0, 0);
}

/**
 * Change keys of the query; `undefined`, null and "" remove a key, other keys stay.
 *
 * @param push Whether "back" returns to the present state.
 */
export function setQuery(changes: Query, { push = false }: { push?: boolean } = {}): void {
  const next = new URLSearchParams(window.location.search);
  for (const [key, value] of Object.entries(changes)) {
    if (value === undefined || value === null || value === "") next.delete(key);
    else next.set(key, String(value));
  }
  const text = next.toString().replace(/%2F/g, "/").replace(/%3A/g, ":").replace(/%2C/g, ",");
  navigate(`${window.location.pathname}${text && `?${text}`}`, { replace: !push });
}

/** Return whether an address belongs to the console, so that no page load is needed. */
export function isInside(url: URL): boolean {
  return url.origin === window.location.origin && (url.pathname === CONSOLE || url.pathname.startsWith(`${CONSOLE}/`));
}

function onClick(event: MouseEvent): void {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey)
    return;
  const anchor = (event.target as Element | null)?.closest?.("a");
  if (!anchor?.href || (anchor.target && anchor.target !== "_self") || anchor.hasAttribute("download")) return;
  const url = new URL(anchor.href);
  if (!isInside(url) || (url.hash && url.pathname === window.location.pathname)) return;
  event.preventDefault();
  navigate(url.pathname + url.search + url.hash);
}

/** Follow clicks on links and the browser's history. */
export function startRouting(): void {
  window.addEventListener("popstate", read);
  document.addEventListener("click", onClick);
  read();
}
