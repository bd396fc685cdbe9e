/** Filters of executions that the user saved under a name; they stay in the browser. */
import type { Place } from "../routes.ts";
import { kept } from "../store.ts";

export interface SavedView extends Place {
  name: string;
  /** The filters as they stand in the address. */
  q: string;
}

const VIEWS_MAX = 50;

export const views = kept<readonly SavedView[]>("views", []);

function same(one: SavedView, other: SavedView): boolean {
  return one.name === other.name && one.project === other.project && one.domain === other.domain;
}

/** Save a view; one of the same name and place is replaced. */
export function saveView(view: SavedView): void {
  views.value = [view, ...views.value.filter((one) => !same(one, view))].slice(0, VIEWS_MAX);
}

/** Forget a view. */
export function removeView(view: SavedView): void {
  views.value = views.value.filter((one) => !same(one, view));
}

/** Return the views of a place. */
export function viewsOf({ project, domain }: Place): SavedView[] {
  return views.value.filter((one) => one.project === project && one.domain === domain);
}
