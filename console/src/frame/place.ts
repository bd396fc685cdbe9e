/** The project and domain of the page, else those of the last page that had them. */
import { computed, effect } from "@preact/signals";
import { route } from "../location.ts";
import type { Place } from "../routes.ts";
import { lastPlace } from "../store.ts";

export const place = computed<Place | null>(() => {
  const { project, domain } = "project" in route.value ? route.value : lastPlace.value;
  return project && domain ? { project, domain } : null;
});

/** Remember the place of each page. */
export function rememberPlace(): void {
  effect(() => {
    const now = route.value;
    if (!("project" in now)) return;
    const before = lastPlace.peek();
    if (before.project !== now.project || before.domain !== now.domain)
      lastPlace.value = { project: now.project, domain: now.domain };
  });
}
