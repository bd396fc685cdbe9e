/** The page of the route. Its module is loaded when the page is opened first. */
import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { route } from "../location.ts";
import { PAGES } from "../pages/table.ts";
import type { PageName, Route } from "../routes.ts";

const loaded = new Map<PageName, ComponentType<Route>>();

function load(page: PageName): Promise<void> {
  return PAGES[page]().then((module) => {
    loaded.set(page, module.default as ComponentType<unknown> as ComponentType<Route>);
  });
}

/** Show the page of the address. The page before it stays until the module of the next one is there. */
export function Page() {
  const wanted = route.value;
  const [shown, setShown] = useState<Route | null>(loaded.has(wanted.page) ? wanted : null);
  const [failed, setFailed] = useState(false);
  useEffect(() => {
    let current = true;
    const show = () => current && setShown(wanted);
    if (loaded.has(wanted.page)) show();
    else
      load(wanted.page).then(show, () => {
        if (current) setFailed(true);
      });
    return () => {
      current = false;
    };
  }, [wanted]);
  if (failed)
    return (
      <div class="page-failed" role="alert">
        <p>The files of this page are not on the server any more, or the server does not answer.</p>
        <button type="button" class="button" onClick={() => window.location.reload()}>
          Load the console again
        </button>
      </div>
    );
  const next = loaded.has(wanted.page) ? wanted : shown;
  const Component = next && loaded.get(next.page);
  return Component ? <Component key={next.page} {...next} /> : null;
}
